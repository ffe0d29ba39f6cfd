#!/usr/bin/env bash
# glibc 2.36 under torch 2.13.0: MALLOC_TRIM_THRESHOLD_, set high so that freed memory is kept, makes torch ask the
# system for every tensor above 128 KB anew, whose every page then faults.
#
# Expected: fewer page faults than without it, as free memory is handed back later.
# Seen: without it a tensor of 2 MB that is made and freed again and again costs no fault; with it 513 each time, one a
# page. Setting any of these thresholds switches off that glibc raises the other one, for what is mapped on its own, from
# 128 KB to what programs free; with MALLOC_MMAP_THRESHOLD_ set as well there are none again. A step of training a small
# Transformer or minGRU took twice as long where we measured it (68 against 34 ms; 42 against 17).
# For us: the variable stands in many recipes for containers. A training sets both thresholds itself, or the one that the
# environment has not set (charlm/models/kernels/plan.py); also where neither is set that saves hundreds of faults a step.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$work/see.py" <<'END'
import resource

import torch

torch.set_num_threads(1)


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def rounds(count: int) -> None:
    for _ in range(count):
        torch.zeros(1 << 19).add_(1)  # 2 MB


rounds(20)
before = faults()
rounds(200)
print((faults() - before) // 200)
END
usual=$("$work/venv/bin/python" "$work/see.py")
trim=$(MALLOC_TRIM_THRESHOLD_=268435456 "$work/venv/bin/python" "$work/see.py")
both=$(MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_MMAP_THRESHOLD_=33554432 "$work/venv/bin/python" "$work/see.py")
getconf GNU_LIBC_VERSION
echo "page faults a tensor of 2 MB: $usual as it is, $trim with a high trim threshold, $both with both thresholds"
[ "$usual" -lt 10 ] && [ "$trim" -gt 400 ] && [ "$both" -lt 10 ]
