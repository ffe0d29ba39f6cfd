#!/usr/bin/env bash
# @huggingface/tokenizers 0.2.0 (npm) reads the tokenizer.json of tokenizers 0.23.3 (Python), and gives other ids for
# two plain kinds of it, without an error.
#
# Expected: the same file gives the same ids in both, or is refused where it holds what the reader does not know (as it
# refuses some pre-tokenizers by their names).
# Seen: of a WordLevel model the file's own unk_token is not used: a word that is not in the vocabulary has the id
# undefined (null in JSON) among the ids; it is used only if a tokenizer_config.json names it once more. A Split
# pre-tokenizer whose behavior is "MergedWithPrevious" or "Contiguous" splits like "Isolated", so that pieces which
# begin or end with a space are never found. A BPE model's unk_token is read from the file.
# For us: an exported page has a reader of its own (charlm/formats/html).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v npm >/dev/null || { echo "needs Node.js 20 and npm" >&2 && exit 2; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cat >"$work/see.py" <<'END'
import json
import sys

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2}, unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
vocabulary = {piece: index for index, piece in enumerate(["[UNK]", "a", "b", " ", "1", "2", "a ", "12"])}
merges = [("a", " "), ("1", "2")]
previous = Tokenizer(models.BPE(vocabulary, merges, unk_token="[UNK]"))
previous.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "merged_with_previous")
runs = Tokenizer(models.BPE(vocabulary, merges, unk_token="[UNK]"))
runs.pre_tokenizer = pre_tokenizers.Split(Regex("[0-9]"), "contiguous")
made = {"words": (words, "the dog"), "previous": (previous, "a b"), "runs": (runs, "12"), "unknown": (runs, "xa")}
told = {name: [json.loads(one.to_str()), text, one.encode(text).ids] for name, (one, text) in made.items()}
json.dump(told, open(sys.argv[1], "w"))
END
cat >"$work/see.mjs" <<'END'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";

const found = {};
for (const [name, [file, text, ids]] of Object.entries(JSON.parse(readFileSync("told.json", "utf8")))) {
  found[name] = { python: ids, javascript: [...new Tokenizer(file, {}).encode(text).ids] };
}
const [file, text] = JSON.parse(readFileSync("told.json", "utf8")).words;
found.configured = [...new Tokenizer(file, { unk_token: "[UNK]" }).encode(text).ids];
console.log(JSON.stringify(found));
const expected = {
  words: { python: [1, 0], javascript: [1, null] },
  previous: { python: [6, 2], javascript: [1, 3, 2] },
  runs: { python: [7], javascript: [4, 5] },
  unknown: { python: [0, 1], javascript: [0, 1] },
  configured: [1, 0],
};
process.exit(JSON.stringify(found) === JSON.stringify(expected) ? 0 : 1);
END
"$work/venv/bin/python" "$work/see.py" "$work/told.json"
cd "$work"
echo '{"private": true}' >package.json
npm install --silent --no-fund --no-audit @huggingface/tokenizers@0.2.0
node see.mjs
