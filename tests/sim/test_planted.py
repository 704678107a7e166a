#!/usr/bin/env python3
"""The simulator finds planted faults, and the line that it prints replays what it found.

usage: test_planted.py SIM SIM_WITH_FAULT...
"""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

SEEDS = 2000


def run(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reason(said):
    """What went wrong, in the line that names the seed."""
    found = re.search(r"^sim: seed \d+.*$", said, re.M)
    return found.group() if found else None


def examine(sim, faulty):
    """What is wrong with how the fault was found; and what to tell of it."""
    done = run(faulty, "--seeds", str(SEEDS))
    replays = re.findall(r"^replay: (.*)$", done.stderr, re.M)
    if done.returncode == 0:
        return f"not found in {SEEDS} seeds", ""
    if len(replays) != 1 or reason(done.stderr) is None:
        return f"no seed, or not one line to replay it: {done.stderr}", ""
    again = run(*shlex.split(replays[0]))
    if again.returncode == 0 or reason(again.stderr) != reason(done.stderr):
        return f"{replays[0]} does not say {reason(done.stderr)!r} but: {again.stderr}", ""
    seed = replays[0].split()[-1]
    whole = run(sim, "--seed", seed)
    if whole.returncode != 0:
        return f"without the fault, seed {seed} fails as well: {whole.stderr}", ""
    return "", reason(done.stderr)


def main():
    sim, *faulty = sys.argv[1:]
    failed = 0
    for program in faulty:
        name = Path(program).name
        started = time.monotonic()
        wrong, told = examine(sim, program)
        failed += bool(wrong)
        verdict = "FAIL" if wrong else "ok  "
        print(f"{verdict} {name} ({time.monotonic() - started:.1f} s): {wrong or told}", flush=True)
    print(f"{len(faulty) - failed} passed, {failed} failed")
    return 1 if failed or not faulty else 0


if __name__ == "__main__":
    sys.exit(main())
