#!/usr/bin/env bash
# Optuna 5.0.0: what is appended to a journal file whose last line was cut off (a kill while it was written) is lost, and
# the journal cannot be read any more.
#
# Expected: a journal is what survives kills; a last line without its end is passed over when the journal is read, and so
# the next one begins on a line of its own.
# Seen: reading does pass over the torn line, with all trials there. But JournalFileBackend.append_logs writes the next
# line right behind it. The two make one line that is no JSON: the first write after the kill fails with an
# AttributeError ('JournalStorageReplayResult' object has no attribute ...), and once another line has followed, every
# later look at the study raises JSONDecodeError.
# For us: before a search goes on, what follows the last line end of its journal is removed; reading writes nothing,
# not even create_study(load_if_exists=True), which appends a line before it finds that there is a study.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
cat >"$work/see.py" <<'END'
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
path = sys.argv[1]


def study():
    return optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))


def seen(action):
    try:
        return action()
    except Exception as error:
        return type(error).__name__


optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
study().optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
with open(path, "ab") as file:
    file.write(b'{"op_code":8,"wor')  # the process was killed here
found = {"read": seen(lambda: len(study().trials)), "first write": seen(lambda: study().ask().number)}
found |= {"second write": seen(lambda: study().ask().number), "read again": seen(lambda: len(study().trials))}
print(found)
expected = {
    "read": 3, "first write": "AttributeError", "second write": "JSONDecodeError", "read again": "JSONDecodeError"
}
sys.exit(found != expected)
END
"$work/venv/bin/python" "$work/see.py" "$work/journal.log"
