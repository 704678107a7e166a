#!/usr/bin/env python3
"""utun forwards TCP so that neither program can tell: every case of the matrix passes."""

import sys

from harness.forwarders import Forwarder, Route, Utun
from harness.suite import LONG, Suite, check
from tcp_cases import CASES, Case, Stage

IDLE = 300.0 if LONG else 12.0


def run_case(stage: Stage, entry: Case, forwarder: Forwarder) -> str:
    stage.clear()
    stage.note = ""
    entry.run(stage)
    for process in forwarder.processes:
        check(process.is_running(), f"{process.name} ended")
    return stage.note


def main() -> int:
    with Suite("TCP as if there were no tunnel") as suite:
        route = Route(listen=suite.ports.take(), target=suite.ports.take())
        with Utun(suite.folder, suite.ports, [route]) as forwarder:
            stage = Stage(("127.0.0.1", route.listen), ("127.0.0.1", route.target), IDLE)
            stage.unknown = ("127.0.0.1", forwarder.unknown)
            stage.listen()
            for entry in CASES:
                text = f"{entry.name}: {entry.text.format(idle=IDLE)}"
                suite.run(text, run_case, stage, entry, forwarder)
            stage.clear()
            stage.deafen()
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
