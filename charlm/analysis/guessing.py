"""What compressing programs make of a text: bars that a trained model has to get under."""

import lzma
import zlib

from charlm.errors import CorpusError

COMPRESSED_FITTED = 1_200_000  # last characters of the training part that are used
COMPRESSED_SCORED = 200_000  # first characters of the held-out part that are used


def compression_costs(train_text: str, held_out_text: str) -> dict[str, float]:
    """Bits per character that the held-out text adds to the compressed training text, by gzip and by xz.

    (size(train + held-out) - size(train)) * 8 / held-out characters, both as UTF-8, gzip at level 9 and xz at preset 6.
    gzip looks back 32 KB, xz over all that is used here: of a large corpus only the last 1,200,000 characters of the
    training part and the first 200,000 of the held-out part, so that this takes seconds.

    Args:
        train_text: the training part; may be empty.
        held_out_text: the held-out part.

    Raises:
        CorpusError: nothing is held out.
    """
    if not held_out_text:
        raise CorpusError("nothing is held out, so guessing cannot be scored; hold out more than 0 of the text")
    train, held_out = train_text[-COMPRESSED_FITTED:], held_out_text[:COMPRESSED_SCORED]
    sizes = {"gzip": _gzip_bytes(train, held_out), "xz": _xz_bytes(train, held_out)}
    return {name: size * 8 / len(held_out) for name, size in sizes.items()}


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
