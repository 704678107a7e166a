#!/usr/bin/env python3
"""What source and dest do with clients that wait, with limits, hosts, and sessions that come twice."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time

from harness.echo import Conversation, Echo, exchange
from harness.process import wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    WORKERS,
    Authority,
    Pair,
    Service,
    dest_config,
    ready,
    source_config,
    start,
)


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo
        self.folder = suite.folder

    def service(self) -> Service:
        return Service(self.suite.ports.take(), self.echo.port)

    def pair(self, name: str, **options: dict) -> Pair:
        return Pair(
            self.folder, self.suite.ports, [self.service()], self.authority, name=name, **options
        )


def wait_reset(sock: socket.socket, what: str, seconds: float = 10) -> None:
    """The connection has to end with a RST."""
    sock.settimeout(seconds)
    try:
        got = sock.recv(1)
    except ConnectionResetError:
        return
    raise AssertionError(f"{what}: {got!r} instead of a reset")


def reset_at_once(port: int, what: str) -> None:
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    except ConnectionResetError:
        return
    with sock:
        wait_reset(sock, what)


# -- clients that come before the session


def client_waits(stage: Stage) -> None:
    """A client that is there before the dest is served when the dest comes."""
    tunnel_port, service = stage.suite.ports.take(), stage.service()
    table = source_config(tunnel_port, [service.port], stage.authority)
    with start("source", "wait-source", stage.folder, table) as source:
        source.wait_event("handshake.failed", error="refused")
        with Conversation(service.port) as talk:
            talk.sock.sendall(b"early ")
            config = dest_config(tunnel_port, [service], stage.authority)
            with ready(start("dest", "wait-dest", stage.folder, config)):
                check_equal(talk.sock.recv(100), b"early ", "what came back")
                talk.say(b"and late")
                talk.finish()


def client_waits_too_long(stage: Stage) -> str:
    table = source_config(
        stage.suite.ports.take(),
        [port := stage.suite.ports.take()],
        stage.authority,
        {"source": {"connection_timeout_ms": 1000}},
    )
    with start("source", "timeout-source", stage.folder, table) as source:
        source.wait_event("source.ready")
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as client:
            wait_reset(client, "a client without a session")
        took = time.monotonic() - began
        check(0.9 <= took, f"reset after {took:.2f} s already")
        refused = source.wait_event("stream.refused", error="timeout")
        check_equal(refused["port"], port, "the port of the event")
    return f"{took:.1f} s"


# -- limits


def source_is_full(stage: Stage) -> None:
    """max_connections: one more is reset at once, and there is room again when one ends."""
    with stage.pair("full", source_changes={"source": {"max_connections": 3}}) as pair:
        assert pair.source
        port = pair.services[0].port
        talks = [Conversation(port) for _ in range(3)]
        for talk in talks:
            talk.say(b"hello")
        reset_at_once(port, "the fourth")
        event = pair.source.wait_event("limit.reached", limit="max_connections")
        check_equal(event["value"], 3, "the limit in the event")
        talks.pop().finish()

        def is_served() -> bool:
            try:
                exchange(port, 1000)
            except (OSError, AssertionError):
                return False
            return True

        wait_until(is_served, 10, "room for one more")
        for talk in talks:
            talk.say(b"still here")
            talk.finish()


def service_is_full(stage: Stage) -> None:
    """max_connections_per_service: reset at once, and both sides log which service and why."""
    changes = {"dest": {"max_connections_per_service": 2}}
    with stage.pair("service-full", dest_changes=changes) as pair:
        assert pair.source and pair.dest
        port = pair.services[0].port
        talks = [Conversation(port) for _ in range(2)]
        for talk in talks:
            talk.say(b"hello")
        reset_at_once(port, "the third")
        for process in (pair.source, pair.dest):
            event = process.wait_event("stream.refused", error="limit")
            check_equal(event["port"], port, "the port of the event")
        check("max_connections_per_service" in event["detail"], event["detail"])
        for talk in talks:
            talk.say(b"still here")
            talk.finish()


def refused_addresses(stage: Stage) -> None:
    changes = {"dest": {"connection_filter": {"allowed_source_ips": ["192.0.2.0/24", "::/0"]}}}
    tunnel_port, service = stage.suite.ports.take(), stage.service()
    config = dest_config(tunnel_port, [service], stage.authority, changes)
    with ready(start("dest", "filter-dest", stage.folder, config)) as dest:
        table = source_config(tunnel_port, [service.port], stage.authority)
        with start("source", "filter-source", stage.folder, table) as source:
            event = dest.wait_event("handshake.refused", error="not_allowed")
            check(event["address"].startswith("127.0.0.1:"), event["address"])
            check("allowed_source_ips" in event["detail"], event["detail"])
            source.wait_event("handshake.failed")
            check_equal(source.events("session.up"), [], "sessions")


# -- hosts, attempts


def hosts_in_order(stage: Stage) -> None:
    """Where the first host refuses, the second is tried at once and not after a delay."""
    tunnel_port, service = stage.suite.ports.take(), stage.service()
    config = dest_config(tunnel_port, [service], stage.authority, {"dest": {"listen_ip": "::1"}})
    changes = {
        "source": {
            "dest_host": ["127.0.0.1", "::1"],
            "initial_reconnect_delay_ms": 60000,
            "max_reconnect_delay_ms": 60000,
        }
    }
    with ready(start("dest", "hosts-dest", stage.folder, config)):
        table = source_config(tunnel_port, [service.port], stage.authority, changes)
        with ready(start("source", "hosts-source", stage.folder, table)) as source:
            failed = source.wait_event("handshake.failed", error="refused")
            check_equal(failed["host"], "127.0.0.1", "the host that failed")
            exchange(service.port)


def gives_up(stage: Stage, name: str, changes: dict, tries: int) -> None:
    """Told not to try for ever, it ends with status 1 and says why. Each worker tries for itself, and
    the first that has tried often enough ends them all."""
    table = source_config(
        stage.suite.ports.take(), [stage.suite.ports.take()], stage.authority, {"source": changes}
    )
    with start("source", f"give-up-{name}", stage.folder, table) as source:
        check_equal(source.wait(20), 1, "exit status")
        event = source.wait_event("source.failed")
        check(next(iter(changes)) in event["detail"], event["detail"])
        tried = len(source.events("handshake.failed"))
        check(tries <= tried <= tries * WORKERS, f"{tried} tries, {tries} for each worker")


# -- a session that the dest has not missed yet


class Cuttable:
    """A TCP relay that can drop its near sides and leave the far ones open, as a dead path does."""

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.sockets: list[tuple[socket.socket, socket.socket]] = []
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.sockets.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.relay, args=(one, other), daemon=True).start()

    @staticmethod
    def relay(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass  # cut: the other side is left as it is

    def cut(self) -> None:
        for near, _ in list(self.sockets):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.shutdown(socket.SHUT_RD)
            near.close()

    def close(self) -> None:
        self.listener.close()
        for pair in self.sockets:
            for sock in pair:
                sock.close()


def superseded(stage: Stage) -> None:
    """The source is back before the dest has missed it: streams go on, the old session ends."""
    relay_port, tunnel_port, service = (
        stage.suite.ports.take(),
        stage.suite.ports.take(),
        stage.service(),
    )
    often = {"dest": {"handshake_rate_limit": 0}}
    config = dest_config(tunnel_port, [service], stage.authority, often)
    with ready(start("dest", "twice-dest", stage.folder, config)) as dest:
        relay = Cuttable(relay_port, tunnel_port)
        table = source_config(relay_port, [service.port], stage.authority)
        with ready(start("source", "twice-source", stage.folder, table)) as source:
            with Conversation(service.port) as talk:
                talk.say(b"before")
                relay.cut()
                source.wait_event("session.up", resumed=True, count=WORKERS)
                talk.say(b"after")
                talk.finish()
            dest.wait_event("session.down", reason="superseded", count=WORKERS)
            exchange(service.port)
            check_equal(len(dest.events("session.up")), 2 * WORKERS, "sessions at the dest")
        relay.close()


def strangers_do_not_supersede(stage: Stage) -> None:
    """Sessions of another source leave the first one alone."""
    tunnel_port, service = stage.suite.ports.take(), stage.service()
    config = dest_config(tunnel_port, [service], stage.authority)
    with ready(start("dest", "apart-dest", stage.folder, config)) as dest:
        first = source_config(tunnel_port, [service.port], stage.authority)
        other = source_config(
            tunnel_port, [service.port], stage.authority, {"source": {"listen_ip": "127.0.0.2"}}
        )
        with ready(start("source", "apart-first", stage.folder, first)):
            with Conversation(service.port) as talk:
                talk.say(b"before")
                with ready(start("source", "apart-other", stage.folder, other)):
                    exchange(service.port, host="127.0.0.2")
                talk.say(b"after")
                talk.finish()
        check_equal(dest.events("session.down", reason="superseded"), [], "superseded sessions")


# -- authentication switched off


def without_mtls(stage: Stage) -> None:
    """Only by explicit word, and with a warning at each start of both."""
    changes = {"auth": {"use_mtls": False}}
    with stage.pair("no-mtls", source_changes=changes, dest_changes=changes) as pair:
        assert pair.source and pair.dest
        for process in (pair.source, pair.dest):
            event = process.wait_event("auth.insecure")
            check_equal(event["level"], "warn", "its level")
        exchange(pair.services[0].port)


def without_client_check(stage: Stage) -> None:
    changes = {"auth": {"verify_client_cert": False}}
    with stage.pair("no-check", dest_changes=changes) as pair:
        assert pair.dest
        pair.dest.wait_event("auth.insecure", key="verify_client_cert")
        exchange(pair.services[0].port)


def many_workers(stage: Stage) -> None:
    """More threads at both ends than there is need of: each client finds its way."""
    with stage.pair(
        "workers",
        source_changes={"source": {"workers": 3}},
        dest_changes={"dest": {"workers": 2}},
    ) as pair:
        for _ in range(30):
            exchange(pair.services[0].port, 20_000)


def main() -> int:
    with Suite("roles") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            suite.run("a client that is there before the dest", client_waits, stage)
            suite.run("a client that no dest comes for", client_waits_too_long, stage)
            suite.run("max_connections", source_is_full, stage)
            suite.run("max_connections_per_service", service_is_full, stage)
            suite.run("allowed_source_ips", refused_addresses, stage)
            suite.run("two hosts", hosts_in_order, stage)
            never = {"reconnection_enabled": False}
            suite.run("reconnection_enabled = false", gives_up, stage, "never", never, 1)
            twice = {"max_reconnect_attempts": 2}
            suite.run("max_reconnect_attempts = 2", gives_up, stage, "twice", twice, 3)
            suite.run("a source that comes back unmissed", superseded, stage)
            suite.run("two sources with one certificate", strangers_do_not_supersede, stage)
            suite.run("use_mtls = false", without_mtls, stage)
            suite.run("verify_client_cert = false", without_client_check, stage)
            suite.run("several workers", many_workers, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
