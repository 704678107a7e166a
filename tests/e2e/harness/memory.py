"""What a process's memory holds."""

from __future__ import annotations

import re
from pathlib import Path


def resident(pid: int) -> list[tuple[int, int]]:
    """The ranges of its memory that hold anything. A sanitizer's shadow has terabytes of nothing."""
    ranges, where = [], (0, 0)
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            where = (int(head[1], 16), int(head[2], 16)) if head else (0, 0)
        elif line.startswith(("Rss:", "Swap:")) and int(line.split()[1]) > 0 and where not in ranges:
            ranges.append(where)
    return [(begin, end) for begin, end in ranges if 0 < end - begin <= 1 << 30]


def found_in(pid: int, secrets: dict[str, bytes]) -> set[str]:
    """Which of them the process's memory holds."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end in resident(pid):
            try:
                memory.seek(begin)
                left, held = end - begin, b""
                while left > 0:
                    piece = memory.read(min(left, 16 << 20))
                    if not piece:
                        break
                    left -= len(piece)
                    held = held[-256:] + piece
                    found |= {name for name, value in secrets.items() if value in held}
            except OSError:
                continue  # guard pages, and what the kernel keeps to itself
    return found
