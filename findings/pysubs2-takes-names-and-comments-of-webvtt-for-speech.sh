#!/usr/bin/env bash
# pysubs2 1.8.1: in a WebVTT file, the name of a cue (its identifier, where that is no number) and a comment (NOTE
# block) become part of what is said in the cue before.
#
# Expected: names are dropped as numbers are; comments are dropped, or kept as events whose is_comment is true, as those
# of other formats are.
# Seen: both stand in the text of the cue before them, behind an empty line; only what comes before the first cue is
# dropped. Names such as "3f2a/12-0" are what programs for meetings write. The same text keeps character references
# (&amp;) and times inside a cue, also in `plaintext`, which is described as the text without tags. The other package
# for the format, webvtt-py 0.6.0, drops names, comments and times.
# For us: names and comments are taken out before the file is read, references and times after it
# (charlm/data/documents.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pysubs2==1.8.1 webvtt-py==0.6.0
cat >"$work/see.py" <<'END'
import io
import sys

import pysubs2
import webvtt

FILE = """WEBVTT

NOTE made by hand

3f2a/12-0
00:01.000 --> 00:02.000
<v Ann>Fish &amp; chips</v>

3f2a/13-0
00:03.000 --> 00:05.000
Twice, <00:04.000>please.

3
00:06.000 --> 00:07.000
Thanks.

NOTE the end
"""
found = [(one.plaintext, one.is_comment) for one in pysubs2.SSAFile.from_string(FILE, format_="vtt")]
others = [one.text for one in webvtt.from_buffer(io.StringIO(FILE))]
print("pysubs2:", found)
print("webvtt-py:", others)
expected = [
    ("Fish &amp; chips\n\n3f2a/13-0", False), ("Twice, <00:04.000>please.", False), ("Thanks.\n\nNOTE the end", False)
]
sys.exit(found != expected or others != ["Fish &amp; chips", "Twice, please.", "Thanks."])
END
"$work/venv/bin/python" "$work/see.py"
