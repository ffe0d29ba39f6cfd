#!/usr/bin/env bash
# torch 2.13.0 (OpenMP): torch.set_num_threads in one thread decides for threads that start later, and takes back what a
# thread that has not computed yet had set for itself.
#
# Expected: either a number for the whole process, or each thread's own.
# Seen: a thread that has asked for its number, or computed, keeps it. One that starts later has the number that any thread
# set last. And one that set 4 and has neither asked nor computed since finds itself with the 1 of another thread: its own
# number is looked up at its first use, in a place that all share.
# For us: a pool whose threads set 1 would leave all later threads with 1; the number of cores is asked once, before
# anything is set, and a step of training asks for its thread's number before it sets one, and puts it back
# (charlm/models/kernels/plan.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$work/see.py" <<'END'
import sys
import threading

import torch

seen: dict[str, int] = {}
ready, go = threading.Event(), threading.Event()


def note(name: str) -> None:
    seen[name] = torch.get_num_threads()


def running() -> None:
    torch.set_num_threads(3)
    note("runs, set 3 and asked, before")
    ready.set()
    go.wait()
    note("the same, after another set 1")


def another() -> None:
    torch.set_num_threads(1)
    note("the other")


first = threading.Thread(target=running)
first.start()
ready.wait()
torch.set_num_threads(4)  # of the main thread, which has not asked yet
for target in (another, lambda: note("starts after that")):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
go.set()
first.join()
note("the main thread, which had set 4")
for name, number in seen.items():
    print(f"{number}  {name}")
print("torch", torch.__version__.partition("+")[0])
sys.exit(list(seen.values()) != [3, 1, 1, 3, 1])
END
"$work/venv/bin/python" "$work/see.py"
