#!/usr/bin/env python3
"""A dest that cannot take a source says when to come again; the source obeys, within reason."""

from __future__ import annotations

import os
import struct
import sys
import time

from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service, merge, source_config, start
from strangers import ABORT, FalseDest, message, server_context, tls_server

LIMIT = 10  # PROTOCOL 10
MODE = 3  # mceliece460896
FOR_EVER = 0xFFFFFFFF
PARKED_AT_MOST = 450  # seconds: RETRY_AFTER_MAX_MS, and its half

ADVICE = (2500, 7500)  # milliseconds that a dest with too many tunnels may ask for


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo


def a_full_dest(stage: Stage) -> str:
    """One source has the only tunnel; a second one waits, as long as it is told, for its end."""
    suite = stage.suite
    service = Service(suite.ports.take(), stage.echo.port)
    pair = Pair(
        suite.folder,
        suite.ports,
        [service],
        stage.authority,
        name="full",
        source_changes={"source": {"connection_refresh_interval_secs": 1}},
        dest_changes={"dest": {"max_tunnels": 1, "handshake_rate_limit": 0}},
    )
    late_port = suite.ports.take()
    table = source_config(pair.tunnel_port, [late_port], stage.authority)
    eager = {"initial_reconnect_delay_ms": 50, "max_reconnect_delay_ms": 100}
    table["source"] = merge(table["source"], eager)
    table["source"]["exposed_ports"] = [{"port": service.port}]
    with pair:
        assert pair.dest and pair.source
        with Conversation(service.port) as talk:
            talk.say(b"before")
            with start("source", "late", suite.folder, table) as late:
                for number in (1, 2):
                    failed = late.wait_event(
                        "handshake.failed", count=number, seconds=20 * PATIENCE, error="limit"
                    )
                    advice = failed["retry_after_ms"]
                    check(ADVICE[0] <= advice <= ADVICE[1], f"advice of {advice} ms")
                    retry = late.wait_event("session.retry", advised_ms=advice)
                    check(advice <= retry["delay_ms"] <= 1.5 * advice + 1, f"{retry}")
                    started = time.monotonic()
                    pair.dest.wait_event("handshake.failed", error="limit", retry_after_ms=advice)
                # The tunnel that is there is refreshed all the same.
                talk.say(os.urandom(100_000))
                pair.source.wait_event("session.refresh", count=2, seconds=20)
                refreshes = pair.source.events("session.refresh")
                check(all(event["resumed"] for event in refreshes), "a refresh began anew")
                check_equal(pair.source.events("handshake.failed"), [], "failures of the first")
                talk.finish()
                pair.source.stop()
                late.wait_event("session.up", seconds=20 * PATIENCE)
                waited = time.monotonic() - started
                check(waited > retry["delay_ms"] / 1000 - 1, f"came back after {waited:.1f} s")
                port = late.wait_event("listener.up")["port"]
                exchange(port)
                pair.source = None
        return f"advised {advice} ms, came back after {waited:.1f} s"


def a_dest_that_wants_it_for_ever(stage: Stage) -> str:
    """Advice without end counts as some minutes."""
    body = struct.pack("!HBIH", LIMIT, MODE, FOR_EVER, 4) + b"gone"
    ours = Authority(stage.suite.folder, "ca-p256", "ECDSA-P256")
    tls = server_context(ours.ca.cert, ours.server())
    with FalseDest(tls_server(tls, message(ABORT, body))) as dest:
        table = source_config(
            dest.port,
            [stage.suite.ports.take()],
            ours,
            {"crypto": {"kem_mode": "mceliece460896"}},
        )
        with start("source", "parked", stage.suite.folder, table) as source:
            failed = source.wait_event("handshake.failed", error="limit")
            check_equal(failed["retry_after_ms"], FOR_EVER, "advice")
            retry = source.wait_event("session.retry")
            check(retry["delay_ms"] <= PARKED_AT_MOST * 1000, f"parked: {retry}")
            check(retry["delay_ms"] >= PARKED_AT_MOST * 1000 * 2 // 3, f"not obeyed: {retry}")
            # And a source that waits ends when it is told to.
            check_equal(source.stop(), 0, "exit status")
        return f"waits {retry['delay_ms'] / 1000:.0f} s"


def main() -> int:
    with Suite("admission") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            suite.run("a dest that has all the tunnels it may", a_full_dest, stage)
            suite.run(
                "a dest that sends sources away for ever", a_dest_that_wants_it_for_ever, stage
            )
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
