#!/usr/bin/env python3
"""A thousand clients at once, each with bytes of its own that have to come back."""

from __future__ import annotations

import resource
import sys

from harness.echo import Echo, crowd
from harness.forwarders import Forwarder, Route, chosen
from harness.process import SANITIZED, raise_descriptor_limit, wait_until
from harness.suite import Suite

CLIENTS = 1000
USUAL_DESCRIPTORS = 1024


def many(forwarder: Forwarder, ports: list[int], size: int) -> str:
    before = {p.name: p.fd_count() for p in forwarder.processes}
    crowd(ports, CLIENTS, size)
    # Nobody is connected any more: what was opened for them is closed again.
    for process in forwarder.processes:
        limit = before[process.name] + 2
        wait_until(lambda: process.fd_count() <= limit, 10, f"{process.name} to close descriptors")
    peak = {p.name: p.status_kib("VmHWM") // 1024 for p in forwarder.processes}
    return "most memory: " + ", ".join(f"{name} {mib} MiB" for name, mib in peak.items())


def main() -> int:
    # The programs start with the limit that a login shell gives, whatever the test was given.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL_DESCRIPTORS, hard))
    size = 16_000 if SANITIZED else 64_000
    with Suite("a thousand clients") as suite:
        with Echo(suite.folder, suite.ports, name="a") as one, Echo(
            suite.folder, suite.ports, name="b"
        ) as two:
            routes = [Route(suite.ports.take(), echo.port) for echo in (one, two)]
            with chosen()(suite.folder, suite.ports, routes) as forwarder:
                raise_descriptor_limit()
                ports = [forwarder.entry(route) for route in routes]
                suite.run(f"{CLIENTS} clients, 100 B each way", many, forwarder, ports, 100)
                suite.run(f"{CLIENTS} clients, {size} B each way", many, forwarder, ports, size)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
