#!/usr/bin/env python3
"""Which session carries, when there are two: a dest that another one follows, a path that is dead."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from harness.chaos import Chaos
from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, Process
from harness.suite import Suite, check, check_equal
from harness.utun import WORKERS, Authority, Pair, Service, ready, start


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo

    def pair(self, name: str, source: dict, relay: bool = False) -> tuple[Pair, Chaos]:
        """A pair, and the relay between its ends, which only some cases start."""
        service = Service(self.suite.ports.take(), self.echo.port)
        pair = Pair(
            self.suite.folder,
            self.suite.ports,
            [service],
            self.authority,
            # With many workers there are many handshakes a second, and key pairs of McEliece take long.
            kem_mode="mlkem768",
            name=name,
            source_changes={"source": source},
            dest_changes={"dest": {"handshake_rate_limit": 0}},
        )
        chaos = Chaos(self.suite.folder, self.suite.ports, pair.tunnel_port, f"{name}-chaos")
        if relay:
            pair.source_table["source"]["dest_tunnel_port"] = chaos.port
        return pair, chaos


def both(pair: Pair) -> tuple[Process, Process]:
    assert pair.source and pair.dest
    return pair.source, pair.dest


def reads_reset(sock: socket.socket, seconds: float) -> float:
    started = time.monotonic()
    sock.settimeout(seconds * PATIENCE)
    try:
        check_equal(sock.recv(1), None, "what the client of a stream that was cut reads")
    except ConnectionResetError:
        pass
    return time.monotonic() - started


# -- a dest that says goodbye, and the next one on its port


def a_dest_is_followed(stage: Stage) -> str:
    """Old streams end on the old dest, which waits for them; new ones go to its successor."""
    drain = 3
    eager = {
        "connection_drain_timeout_secs": drain,
        "initial_reconnect_delay_ms": 50,
        "max_reconnect_delay_ms": 200,
    }
    pair, _ = stage.pair("followed", eager)
    port = pair.services[0].port
    with pair:
        source, old = both(pair)
        with Conversation(port) as short, Conversation(port) as long:
            short.say(b"before")
            long.say(b"before")
            old.send_signal(signal.SIGTERM)
            source.wait_event("session.go_away")
            # Nobody is there yet: who comes now waits.
            with Conversation(port) as waiting:
                pair.dest = start("dest", "follower", stage.suite.folder, pair.dest_table)
                started = time.monotonic()
                waiting.say(os.urandom(100_000))
                served = time.monotonic() - started
                source.wait_event("tunnel.draining")
                drains_since = time.monotonic()
                # Both tunnels work, side by side.
                short.say(os.urandom(1_000_000))
                exchange(port, 1_000_000)
                long.say(os.urandom(100_000))
                short.finish()
                waiting.finish()
            reads_reset(long.sock, 3 * drain)
            drained = time.monotonic() - drains_since
            check(drained > drain - 0.5, f"the last stream was cut after {drained:.1f} s")
        check_equal(old.wait(10 * PATIENCE), 0, "exit status of the old dest")
        ready(pair.dest)
        exchange(port)
        source.wait_event("session.up", count=2 * WORKERS)
        ups = [event["resumed"] for event in source.events("session.up")]
        check_equal(ups, [False] * 2 * WORKERS, "sessions of the source that continue their tunnel")
        return f"served after {served * 1000:.0f} ms, the last old stream cut after {drained:.1f} s"


def a_dest_goes_without_successor(stage: Stage) -> str:
    """Streams may end on it; then it is gone, and is found again when it comes back."""
    eager = {"initial_reconnect_delay_ms": 50, "max_reconnect_delay_ms": 200}
    pair, _ = stage.pair("alone", eager)
    port = pair.services[0].port
    with pair:
        source, old = both(pair)
        with Conversation(port) as talk:
            talk.say(b"before")
            old.send_signal(signal.SIGTERM)
            source.wait_event("session.refresh_failed", error="refused", count=2)
            talk.say(os.urandom(1_000_000))
            talk.finish()
        check_equal(old.wait(10 * PATIENCE), 0, "exit status of the dest")
        source.wait_event("session.down")
        check_equal(source.events("tunnel.lost"), [], "streams given up")
        pair.dest = start("dest", "alone-again", stage.suite.folder, pair.dest_table)
        pair.dest.wait_listening(pair.tunnel_port)
        started = time.monotonic()
        exchange(port)
        return f"served after {(time.monotonic() - started) * 1000:.0f} ms"


# -- a session that is dead, and nobody has noticed


def a_dead_session_is_superseded(stage: Stage) -> str:
    """The next session takes the streams over at once, at both ends: no heartbeat is waited for."""
    patient = {"heartbeat_interval_ms": 600_000, "connection_refresh_interval_secs": 1}
    pair, relay = stage.pair("dead", patient, relay=True)
    slowest = 0.0
    with relay, pair:
        source, dest = both(pair)
        with Conversation(pair.services[0].port) as talk:
            for _ in range(3):
                talk.say(os.urandom(500_000))
                relay.do("blackhole")
                started = time.monotonic()
                talk.say(os.urandom(500_000))
                slowest = max(slowest, time.monotonic() - started)
            talk.finish()
        check(slowest < 3 * PATIENCE, f"streams stood still for {slowest:.1f} s")
        for process in (source, dest):
            check_equal(process.events("tunnel.lost"), [], f"what {process.name} gave up")
            reasons = {event["reason"] for event in process.events("session.down")}
            check_equal(reasons, {"superseded"}, f"how sessions ended at {process.name}")
    return f"went on after {slowest:.1f} s at most"


def main() -> int:
    with Suite("succession") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            suite.run("a dest that is followed by another", a_dest_is_followed, stage)
            suite.run("a dest that goes", a_dest_goes_without_successor, stage)
            suite.run("a session that is dead", a_dead_session_is_superseded, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
