#!/usr/bin/env bash
# mammoth 1.13.0: words of a .docx that have a reading above them (furigana), or are the result of a simple field, are
# left out; and extract_raw_text joins the words at a line break.
#
# Expected: the base text of <w:ruby>, which is the text itself, and what <w:fldSimple> shows (a date, a
# cross-reference) are converted like other runs; extract_raw_text is to "ignore all formatting", and a line break,
# which is none, ends a word.
# Seen: both are gone with all that is in them; a warning in `messages` names the element, not the words. The results of
# fields in their longer form (fldChar), which Word writes more often, are kept. In raw text, "first" and "second" of
# two lines of one paragraph are "firstsecond", while convert_to_html has <br /> there.
# For us: both are unwrapped before convert_to_html reads the file (charlm/data/documents.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mammoth==1.13.0 python-docx==1.2.0
cat >"$work/see.py" <<'END'
import io
import sys

import docx
import mammoth
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

document = docx.Document()
PARTS = {
    "ruby": "<w:r {}><w:ruby><w:rt><w:r><w:t>reading</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>base</w:t></w:r>"
    "</w:rubyBase></w:ruby></w:r>",
    "field": '<w:fldSimple {} w:instr="DATE"><w:r><w:t>shown</w:t></w:r></w:fldSimple>',
    "longer": "<w:r {}><w:fldChar w:fldCharType='begin'/><w:instrText>DATE</w:instrText><w:fldChar "
    "w:fldCharType='separate'/><w:t>shown</w:t><w:fldChar w:fldCharType='end'/></w:r>",
    "inserted": '<w:ins {} w:id="1" w:author="one"><w:r><w:t>more</w:t></w:r></w:ins>',
}
for name, part in PARTS.items():
    document.add_paragraph(f"{name}: ")._p.append(parse_xml(part.format(nsdecls("w"))))
run = document.add_paragraph().add_run("first")
run.add_break()
run.add_text("second")
file = io.BytesIO()
document.save(file)
found = {"html": mammoth.convert_to_html(file), "raw": mammoth.extract_raw_text(file)}
for name, one in found.items():
    print(name, repr(one.value), [message.message for message in one.messages])
expected = {
    "html": "<p>ruby: </p><p>field: </p><p>longer: shown</p><p>inserted: more</p><p>first<br />second</p>",
    "raw": "ruby: \n\nfield: \n\nlonger: shown\n\ninserted: more\n\nfirstsecond\n\n",
}
sys.exit({name: one.value for name, one in found.items()} != expected)
END
"$work/venv/bin/python" "$work/see.py"
