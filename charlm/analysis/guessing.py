"""What guessing costs without a neural network: the bars that a trained model has to get under.

Everything is fitted on the training part and scored on the held-out part, in bits per character.
"""

import lzma
import math
import zlib

import numpy as np

from charlm.errors import CorpusError

FITTED = 1_200_000  # last characters of the training part that are used
SCORED = 200_000  # first characters of the held-out part that are used
_DENSE = 1 << 24  # up to this many possible codes, and 16 a character, a table is faster than sorting


def guessing_costs(train_text: str, held_out_text: str, vocab_size: int) -> dict[str, float]:
    """Bits per character of the held-out text under five ways of guessing.

    - `uniform`: every character of the vocabulary alike, log2 V.
    - `order0`: by how common each character is in the training text.
    - `order3`: by the last three characters; counts of three, two, one and no characters of context, interpolated
      by Witten and Bell's method (see `character_costs`). The context of the first held-out characters is the end
      of the training text.
    - `gzip`, `xz`: what the held-out text adds to the compressed training text,
      (size(train + held-out) - size(train)) * 8 / held-out characters, both as UTF-8, at gzip's level 9 and xz's
      preset 6. gzip looks back 32 KB, xz over all that is used here.

    Of a large corpus, only the last 1,200,000 characters of the training part and the first 200,000 of the held-out
    part are used, by every method, so that this takes seconds.

    Args:
        train_text: the training part; may be empty, then nothing is known about the text.
        held_out_text: the held-out part.
        vocab_size: V, distinct characters of the whole corpus.

    Returns:
        Finite bits per character for uniform, order0, order3, gzip and xz.

    Raises:
        CorpusError: nothing is held out.
    """
    if not held_out_text:
        raise CorpusError("nothing is held out, so guessing cannot be scored; hold out more than 0 of the text")
    train, held_out = train_text[-FITTED:], held_out_text[:SCORED]
    return {
        "uniform": math.log2(max(1, vocab_size)),
        "order0": float(character_costs(train, held_out, vocab_size, order=0).mean()),
        "order3": float(character_costs(train, held_out, vocab_size, order=3).mean()),
        "gzip": _gzip_bytes(train, held_out) * 8 / len(held_out),
        "xz": _xz_bytes(train, held_out) * 8 / len(held_out),
    }


def character_costs(train_text: str, held_out_text: str, vocab_size: int, order: int) -> np.ndarray:
    """Bits of each held-out character under an interpolated n-gram model of the training text.

    With h the last k characters, h' the last k - 1, n the counts in the training text and T(h) the number of
    distinct characters seen after h,

        p_k(c | h) = (n(h, c) + T(h) p_{k-1}(c | h')) / (n(h) + T(h)),     p_{-1}(c) = 1 / V,

    which is method C of Witten and Bell (1991), "The zero-frequency problem", in the interpolated form of Chen and
    Goodman (1998), "An empirical study of smoothing techniques for language modeling", section 2.4. Every character
    of the vocabulary gets a probability above 0, and they sum to 1.

    Args:
        train_text: what is counted; its end is the context of the first held-out characters.
        held_out_text: what is scored.
        vocab_size: V; raised to the number of distinct characters given, if it is less.
        order: characters of context, 0 or more.

    Returns:
        float64, one cost in bits for each held-out character.
    """
    train = len(train_text)
    ids, distinct = _dense(_codes(train_text + held_out_text), 0x110000)
    probability = np.full(len(held_out_text), 1 / max(1, vocab_size, distinct))
    contexts, kinds = np.zeros(len(ids), dtype=np.int64), 1  # before the characters from `k` on
    for k in range(order + 1):
        joint, joints = _dense(contexts * distinct + ids[k:], kinds * distinct)
        fitted = max(0, train - k)  # positions of `contexts` and `joint` that lie in the training text
        scored = len(ids) - k - fitted
        if scored <= 0:
            break
        times, known, followers = _counts(contexts, joint, fitted, kinds, joints)
        share = np.where(known + followers > 0, known + followers, 1)
        lower = probability[-scored:]
        probability[-scored:] = np.where(known > 0, (times + followers * lower) / share, lower)
        contexts, kinds = joint[:-1], joints
    return -np.log2(probability)


def _counts(
    contexts: np.ndarray, joint: np.ndarray, fitted: int, kinds: int, joints: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n(h, c), n(h) and T(h) of every scored position, counted over the first `fitted` ones."""
    context_of = np.zeros(joints, dtype=np.int64)
    context_of[joint] = contexts
    joint_counts = np.bincount(joint[:fitted], minlength=joints)
    context_counts = np.bincount(contexts[:fitted], minlength=kinds)
    followers = np.bincount(context_of[joint_counts > 0], minlength=kinds)
    return joint_counts[joint[fitted:]], context_counts[contexts[fitted:]], followers[contexts[fitted:]]


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)


def _dense(codes: np.ndarray, space: int) -> tuple[np.ndarray, int]:
    """Codes below `space` renumbered from 0 without gaps, and how many there are."""
    if space > min(_DENSE, 16 * len(codes)):
        values, dense = np.unique(codes, return_inverse=True)
        return dense, len(values)
    present = np.zeros(space, dtype=bool)
    present[codes] = True
    numbers = np.cumsum(present) - 1
    return numbers[codes], int(present.sum())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _gzip_bytes(train: str, held_out: str) -> int:
    """Bytes that the held-out text adds; the training text is compressed once, then both ends are tried."""
    packer = zlib.compressobj(9, wbits=31)
    packer.compress(_bytes(train))  # what it puts out here is in both sizes
    alone = len(packer.copy().flush())
    return len(packer.compress(_bytes(held_out))) + len(packer.flush()) - alone


def _xz_bytes(train: str, held_out: str) -> int:
    return len(lzma.compress(_bytes(train + held_out))) - len(lzma.compress(_bytes(train)))
