#!/usr/bin/env bash
# TensorBoard 2.21.0: a run that restarts at a step (purge_step) loses its later scalars, and keeps its later texts twice.
#
# Expected: SummaryWriter(purge_step=n) marks a restart, after which everything from step n on counts as never logged,
# whatever kind of summary it was.
# Seen: EventAccumulator drops scalars from step n on, and keeps tensors, as which texts are stored: each text from there
# on is there twice, the one before the restart and the one after.
# For us: a resumed training writes its event file again from the first row instead of relying on a restart.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "tensorboard==2.21.0" "tensorboardX==2.6.4"
cat >"$work/see.py" <<'END'
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter

folder = sys.argv[1]
for purge_step in (None, 2):
    with SummaryWriter(folder, purge_step=purge_step, filename_suffix=f".{purge_step or 1}") as writer:
        for step in range(1 if purge_step is None else purge_step, 4):
            writer.add_scalar("loss", 1.0, step)
            writer.add_text("sample", f"text of step {step}", step)
read = EventAccumulator(folder, purge_orphaned_data=True)
read.Reload()
found = {
    "scalars": [one.step for one in read.Scalars("loss")],
    "texts": [one.step for one in read.Tensors("sample/text_summary")],
}
print(found)
sys.exit(found != {"scalars": [1, 2, 3], "texts": [1, 2, 3, 2, 3]})
END
"$work/venv/bin/python" "$work/see.py" "$work/run"
