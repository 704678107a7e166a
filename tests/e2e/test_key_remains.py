#!/usr/bin/env python3
"""When a session is over, its keys are nowhere in the memory of the daemons that had it.

The other end is tests/hostile, which says what keys it shares with the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.hostile import Attacked, attacked_dest, attacked_source
from harness.memory import found_in
from harness.process import Process, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority

# Without root's rights nobody looks into a process that has closed itself.
OPEN = {} if os.geteuid() == 0 else {"security": {"sandbox": False}}
KEYS = {"source traffic key", "dest traffic key"}


@contextmanager
def session(suite: Suite, attacked: Attacked) -> Iterator[dict[str, bytes]]:
    """Its secrets, while it is up."""
    words = [f"{key}={value}" for key, value in attacked.words.items()]
    argv = [*attacked.base, "keys_told", *words]
    with Process(f"teller-{attacked.daemon.name}", argv, suite.folder) as teller:
        wait_until(
            lambda: "all told" in teller.text() or not teller.is_running(), 20, "keys to be told"
        )
        check(teller.is_running(), f"there is no session: {teller.text()}")
        told = (line.split(": ") for line in teller.text().splitlines() if ": " in line)
        yield {name: bytes.fromhex(value) for name, value in told}


def look(suite: Suite, attacked: Attacked, kept: set[str]) -> str:
    """kept: what is still of use when the session is over."""
    pid = attacked.daemon.pid
    with session(suite, attacked) as secrets:
        check_equal(set(secrets), KEYS | {"tunnel secret"}, "secrets that are told")
        in_use = found_in(pid, secrets)
        check_equal(in_use, set(secrets), "what is found while it is in use")
    attacked.daemon.wait_event("session.down", seconds=20)
    try:
        wait_until(lambda: found_in(pid, secrets) <= kept, 20, "the secrets to be gone")
    except TimeoutError:
        check_equal(found_in(pid, secrets) - kept, set(), "what is left of a session that is over")
    check(attacked.daemon.is_running(), "the daemon has ended")
    return f"{len(in_use)} in use"


def at_a_dest(suite: Suite, authority: Authority, mode: str) -> str:
    with attacked_dest(suite, authority, mode, f"dest-{mode}", more=OPEN) as attacked:
        return look(suite, attacked, set())


def at_a_source(suite: Suite, authority: Authority, mode: str) -> str:
    """It means to go on with its tunnel."""
    with attacked_source(suite, authority, mode, f"source-{mode}", {}, more=OPEN) as attacked:
        return look(suite, attacked, {"tunnel secret"})


def main() -> int:
    with Suite("key_remains") as suite:
        authority = Authority(suite.folder)
        for mode in ("hybrid", "mlkem768"):
            suite.run(f"a dest, {mode}", at_a_dest, suite, authority, mode)
            suite.run(f"a source, {mode}", at_a_source, suite, authority, mode)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
