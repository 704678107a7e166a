"""What every measurement stands on: how much effort it may make, and the programs that load utun."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness.process import Process, run
from harness.utun import binary


@dataclass
class Effort:
    rounds: int
    seconds: float  # of one measurement
    warm: float  # seconds before it
    is_quick: bool  # leaves out what no target asks for
    handshakes: int
    cuts: int
    path_warm: float  # seconds until a long path has found its rate
    path_rounds: int
    idle_streams: int
    idle_seconds: int  # less than from one heartbeat to the next
    idle_windows: int
    active: tuple[int, ...]
    active_rounds: int
    bulk_mib: int  # of the engine alone


QUICK = Effort(
    rounds=3,
    seconds=0.4,
    warm=0.2,
    is_quick=True,
    handshakes=5,
    cuts=5,
    path_warm=3.0,
    path_rounds=1,
    idle_streams=10_000,
    idle_seconds=3,
    idle_windows=1,
    active=(1, 100, 1000),
    active_rounds=1,
    bulk_mib=64,
)
THOROUGH = Effort(
    rounds=5,
    seconds=3.0,
    warm=0.5,
    is_quick=False,
    handshakes=15,
    cuts=15,
    path_warm=4.0,
    path_rounds=3,
    idle_streams=100_000,
    idle_seconds=8,
    idle_windows=2,
    active=(1, 10, 100, 1000, 10_000),
    active_rounds=3,
    bulk_mib=1024,
)


def tool(name: str) -> Path:
    """One of the programs of this folder, where Meson has built it."""
    return binary().parent / "tests" / "bench" / name


def ends(*words: object, seconds: float = 30.0) -> dict:
    """What `ends` prints; its options stand in front of its command."""
    return json.loads(run([tool("ends"), *map(str, words)], seconds=seconds).stdout)


def at(port: int, host: str = "127.0.0.1") -> str:
    return f"{host}:{port}"


def gigabits(said: dict) -> float:
    return sum(said["bytes"]) * 8 / said["seconds"] / 1e9


def jain(shares: list[float]) -> float:
    """1 when all have the same, 1 / n when one has everything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


class Watch:
    """The most memory that these processes have together while it watches, in KiB."""

    def __init__(self, *processes: Process) -> None:
        self.processes = processes
        self.before = self.now()
        self.most = self.before
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def now(self) -> int:
        return sum(process.rss_kib() for process in self.processes)

    def look(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, self.now())

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def turned(items: list, number: int) -> list:
    """Another one is first in each round."""
    turn = number % len(items)
    return items[turn:] + items[:turn]


def settle(seconds: float = 0.2) -> None:
    """What the last measurement has left behind ends."""
    time.sleep(seconds)
