#!/usr/bin/env bash
# tiktoken 0.14.0: with all 256 bytes in its vocabulary, an Encoding still loses every character that pat_str does not
# match, in encode, without an error.
#
# Expected: byte-pair encoding on bytes loses nothing; the pattern says where a text is divided, as in Hugging Face's
# Split, and decode(encode(text)) is the text.
# Seen: what stands between two matches is left out. An encoding by characters whose pattern is "." has no line ends, as
# "." does not match them; decode_with_offsets counts as if they had never been there. "(?s)." and r"[\s\S]" lose
# nothing.
# For us: subwords are divided by Hugging Face's Split, which keeps what lies between matches (charlm/tokenizers).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tiktoken==0.14.0
cat >"$work/see.py" <<'END'
import sys

from tiktoken import Encoding

TEXT = "one, two\nthree"
ranks = {bytes([byte]): byte for byte in range(256)}
found = {}
for pattern in (".", r"\w+", "(?s).", r"[\s\S]"):
    encoding = Encoding("bytes", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    ids = encoding.encode(TEXT)
    found[pattern] = encoding.decode(ids), encoding.decode_with_offsets(ids)[1][-1]
print(found)
expected = {
    ".": ("one, twothree", 12), r"\w+": ("onetwothree", 10), "(?s).": (TEXT, 13), r"[\s\S]": (TEXT, 13)
}
sys.exit(found != expected)
END
"$work/venv/bin/python" "$work/see.py"
