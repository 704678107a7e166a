#!/usr/bin/env python3
"""Counts the instructions that the engine takes for a megabyte, and for a whole stream.

usage: test_instructions.py COUNT_ENGINE

A source's engine and a dest's run back to back under callgrind. What counts is the code of src/ and
the copies that it makes; the cipher's instructions depend on the processor, and those of the C
library on its release. A copy more of every byte is half a million instructions for a megabyte.

Fails when a count is more than MARGIN above its bound. When you have made something cheaper, or have
a reason for it to cost more, write the new count here and the reason into the commit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

MIB, STREAMS = 8, 300
# Compilers differ by a tenth; one copy more of bulk is fifteenfold.
MARGIN = 0.25
BOUNDS = {
    "a megabyte of bulk, both ends": 45_400,
    "a stream with 64 bytes each way, both ends": 15_900,
}
COPIES = re.compile(r"^__wrap_mem")


def count(program: str, *words: str) -> tuple[Counter, str]:
    """Instructions by function, of our own code and its copies; and what the program said."""
    with tempfile.TemporaryDirectory(prefix="utun-callgrind-") as folder:
        out = Path(folder, "out")
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        argv += ["--compress-strings=no", "--compress-pos=no", "--toggle-collect=counted*"]
        done = subprocess.run([*argv, program, *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"valgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        return own_costs(out.read_text()), done.stdout


def own_costs(text: str) -> Counter:
    """Sums callgrind's lines: `fl=` and `fn=` name what the costs below them belong to; the line
    behind `calls=` is what the callee took, which stands there itself."""
    costs: Counter = Counter()
    place = function = ""
    is_callee = False
    for line in text.splitlines():
        if line.startswith("fl="):
            place = line[3:]
        elif line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            is_callee = True
        elif re.match(r"[\d+*-]", line):
            if not is_callee and ("/src/" in place or COPIES.match(function)):
                costs[function] += int(line.split()[1])
            is_callee = False
    return costs


def verdict(what: str, costs: Counter, units: float) -> bool:
    got, bound = sum(costs.values()) / units, BOUNDS[what]
    is_good = 0 < got <= bound * (1 + MARGIN)
    print(f"{'ok  ' if is_good else 'FAIL'} {what}: {got:,.0f} instructions; bound {bound:,}")
    if not is_good or os.environ.get("UTUN_TEST_LONG") == "1":
        for function, cost in costs.most_common(15):
            print(f"     {cost / units:12,.0f}  {function}")
    return is_good


def main() -> int:
    costs, said = count(sys.argv[1], "count-bulk", str(MIB))
    bulk, stream = BOUNDS
    carried = int(said.split()[1])
    results = [verdict(bulk, costs, carried / 2**20)]
    costs, _ = count(sys.argv[1], "count-streams", str(STREAMS))
    results.append(verdict(stream, costs, STREAMS))
    print(f"{sum(results)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
