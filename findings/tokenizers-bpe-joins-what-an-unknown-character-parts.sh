#!/usr/bin/env bash
# tokenizers 0.23.3: where a BPE model has no unk_token, a character without an id vanishes, and what stands before and
# behind it is merged into one token, at wrong offsets.
#
# Expected: an error; or that the character is left out, and ends a token, as it does with an unk_token. Offsets say
# where in the text a token stands.
# Seen: "ab", a line end, "ab" becomes the one token "abab", a piece of five characters at (0, 4); "xab" gives "ab" at
# (0, 2) instead of (1, 3), so that a model is asked about a word that is not in the text, and its answer is put in the
# wrong place. BPE() and BpeTrainer() have no unk_token unless told so. @huggingface/tokenizers 0.2.0, which reads the
# same tokenizer.json in JavaScript, leaves the character out and merges nothing across it.
# For us: subwords are made of bytes, and all 256 of them have ids.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cat >"$work/see.py" <<'END'
import sys

from tokenizers import Tokenizer, models, trainers


def trained(**unknown):
    tokenizer = Tokenizer(models.BPE(**unknown))
    special = list(unknown.values())
    trainer = trainers.BpeTrainer(vocab_size=5 + len(special), special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["abab"], trainer)  # a, b, ab, abab
    return tokenizer


def pieces(tokenizer, text):
    encoded = tokenizer.encode(text)
    return [*zip(encoded.tokens, encoded.offsets, strict=True)]


without, unknown = trained(), trained(unk_token="?")
found = {text: pieces(without, text) for text in ("ab", "ab\nab", "xab")} | {"with ?": pieces(unknown, "ab\nab")}
print(found)
expected = {
    "ab": [("ab", (0, 2))], "ab\nab": [("abab", (0, 4))], "xab": [("ab", (0, 2))],
    "with ?": [("ab", (0, 2)), ("?", (2, 3)), ("ab", (3, 5))],
}
sys.exit(found != expected)
END
"$work/venv/bin/python" "$work/see.py"
