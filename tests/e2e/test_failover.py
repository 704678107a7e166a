#!/usr/bin/env python3
"""More than one dest: a list by priority, a load balancer in front."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, Process, program, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Service, dest_config, merge, ready, source_config, start

FAST = {
    "initial_reconnect_delay_ms": 50,
    "max_reconnect_delay_ms": 200,
    "circuit_breaker_max_restarts": 10_000,
    "failback_interval_secs": 1,
    "connection_drain_timeout_secs": 30,
}


class Stage:
    def __init__(self, suite: Suite, echo: Echo) -> None:
        self.suite = suite
        self.folder = suite.folder
        self.echo = echo
        self.authority = Authority(suite.folder)
        self.service = Service(suite.ports.take(), echo.port)

    def dest(self, name: str, host: str, port: int, changes: dict | None = None) -> Process:
        base = {"listen_ip": host, "handshake_rate_limit": 0}
        table = dest_config(port, [self.service], self.authority, {"dest": merge(base, changes or {})})
        identity = self.authority.issue(
            "server",
            "several",
            "--dns-names",
            "localhost",
            "--ip-addresses",
            "127.0.0.1,127.0.0.2,127.0.0.3,::1",
        )
        table["auth"]["server_cert_path"] = identity.cert
        table["auth"]["server_key_path"] = identity.key
        return ready(start("dest", name, self.folder, table))

    @contextlib.contextmanager
    def source(self, name: str, hosts: object, port: int, changes: dict) -> Iterator[Process]:
        table = source_config(
            port, [self.service.port], self.authority, {"source": merge(FAST, changes)}
        )
        table["source"]["dest_host"] = hosts
        with start("source", name, self.folder, table) as source:
            yield ready(source)


def works(stage: Stage, seconds: float = 5.0) -> None:
    """A new connection is served, perhaps after some that are reset while sessions change."""

    def try_once() -> bool:
        try:
            with Conversation(stage.service.port) as talk:
                talk.say(b"hello")
                talk.finish()
        except OSError:
            return False
        return True

    wait_until(try_once, seconds, "a connection that is served")


def chosen(source: Process) -> list[str]:
    return [event["host"] for event in source.events("dest.chosen")]


# -- a list by priority


def list_of_two(stage: Stage) -> str:
    """The first is killed, then back: fail-over at once, fail-back after the interval, no flapping."""
    port = stage.suite.ports.take()
    first, second = "127.0.0.2", "127.0.0.3"
    one = stage.dest("first", first, port)
    with (
        stage.dest("second", second, port),
        stage.source("list", [first, second], port, {}) as source,
    ):
        works(stage)
        check_equal(chosen(source), [first], "at first")
        with Conversation(stage.service.port) as lost:
            lost.say(b"on the first")
            began = time.monotonic()
            one.popen.kill()
            one.popen.wait()
            works(stage)
            over = time.monotonic() - began
            lost.sock.settimeout(5 * PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                check(lost.sock.recv(1) != b"", "a stream of a dest that is gone has ended cleanly")
                raise AssertionError("a stream of a dest that is gone lives on")
        check_equal(chosen(source), [first, second], "after the kill")
        # While the first is away it is looked for, and nothing else happens.
        with Conversation(stage.service.port) as kept:
            kept.say(b"on the second")
            time.sleep(2.5)
            kept.say(b"still on the second")
            check_equal(chosen(source), [first, second], "while the first is away")
            with stage.dest("first-again", first, port) as again:
                source.wait_event("dest.chosen", seconds=10, count=3)
                check_equal(chosen(source), [first, second, first], "after it is back")
                # What runs on the second may finish there, what is new goes to the first.
                kept.say(b"and on the second to the end")
                works(stage)
                again.wait_event("audit.stream", result="done")
                kept.finish()
                time.sleep(2.5)
                check_equal(chosen(source), [first, second, first], "at the end")
    return f"served {over:.2f} s after the kill"


def comes_and_goes(stage: Stage) -> str:
    """A first dest that never lasts is returned to ever more rarely."""
    port = stage.suite.ports.take()
    first, second = "127.0.0.2", "127.0.0.3"
    with (
        stage.dest("steady", second, port),
        stage.source("flap", [first, second], port, {}) as source,
    ):
        for number in range(2):
            one = stage.dest(f"flap-{number}", first, port)
            source.wait_event("dest.chosen", seconds=15, host=first, count=number + 1)
            one.popen.kill()
            one.popen.wait()
            source.wait_event("dest.chosen", host=second, count=number + 2)
        # The wait is 4 s by now: 1 s doubled for each of two short visits.
        began = time.monotonic()
        with stage.dest("flap-last", first, port):
            source.wait_event("dest.chosen", seconds=15, host=first, count=3)
            waited = time.monotonic() - began
        check(waited > 2.5, f"returned after {waited:.1f} s")
    return f"returned after {waited:.1f} s at the third time"


def silence_at_the_first(stage: Stage) -> str:
    """All are lost, then somebody takes connections at the first and says nothing: one try at a time."""
    port = stage.suite.ports.take()
    first, second = "127.0.0.2", "127.0.0.3"
    slow = {"initial_reconnect_delay_ms": 3000, "max_reconnect_delay_ms": 3000}
    with (
        stage.dest("alone", second, port) as dest,
        stage.source("patient", [first, second], port, slow) as source,
        socket.socket() as silent,
    ):
        works(stage)
        check_equal(chosen(source), [second], "at first")
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        dest.popen.kill()
        dest.popen.wait()
        source.wait_event("session.retry", attempt=1)
        silent.bind((first, port))
        silent.listen()
        silent.settimeout(20 * PATIENCE)
        silent.accept()[0].close()
        kept = [silent.accept()[0]]
        silent.settimeout(4)  # longer than a pause
        with contextlib.suppress(TimeoutError):
            kept.append(silent.accept()[0])
        check_equal(source.popen.poll(), None, "what the source has ended with")
        check_equal(len(kept), 1, "connections at once")
        for connection in kept:
            connection.close()
        silent.close()
        with stage.dest("first-again", first, port):
            works(stage, 20 * PATIENCE)
    return "back at the first"


def session_lost_in_place(stage: Stage) -> None:
    """A lost session is made again with the dest that has the tunnel, though a better one is back."""
    port = stage.suite.ports.take()
    first, second = "127.0.0.2", "127.0.0.3"
    impatient = {
        "failback_interval_secs": 0,
        "heartbeat_interval_ms": int(300 * PATIENCE),
        "heartbeat_timeout_ms": int(300 * PATIENCE),
        "max_missed_pongs": 2,
    }
    with (
        stage.dest("place", second, port) as dest,
        stage.source("stay", [first, second], port, impatient) as source,
        Conversation(stage.service.port) as talk,
    ):
        talk.say(b"before")
        with stage.dest("better", first, port):
            # The dest stands still for longer than the source's patience, not than TCP's.
            dest.popen.send_signal(signal.SIGSTOP)
            try:
                source.wait_event("session.down", seconds=20, reason="heartbeat")
            finally:
                dest.popen.send_signal(signal.SIGCONT)
            source.wait_event("session.resume")
            talk.say(b"after")
            check_equal(chosen(source)[-1], second, "where the tunnel is")
            talk.finish()


def refresh_refused_in_place(stage: Stage) -> str:
    """A refresh that the dest refuses does not move a session that is well, nor cut its streams."""
    port = stage.suite.ports.take()
    first, second = "127.0.0.2", "127.0.0.3"
    refreshing = {"connection_refresh_interval_secs": 1, "connection_drain_timeout_secs": 1}
    once = {"handshake_rate_limit": 1, "handshake_rate_window_secs": 3600}
    with (
        stage.dest("once", first, port, once),
        stage.dest("idle", second, port) as idle,
        stage.source("refused", [first, second], port, refreshing) as source,
        Conversation(stage.service.port) as talk,
    ):
        talk.say(b"before")
        source.wait_event("session.refresh_failed", seconds=20, count=3)
        talk.say(b"after")
        check_equal(chosen(source), [first], "where the session is")
        check_equal(idle.events("session.up"), [], "sessions at the other dest")
        refused = len(source.events("session.refresh_failed"))
        talk.finish()
    return f"{refused} refreshes refused"


# -- a load balancer


class Haproxy(Process):
    """TCP mode, round robin over the dests, each checked every 100 ms."""

    def __init__(self, stage: Stage, listen: int, dests: list[tuple[str, int]]) -> None:
        folder = stage.folder / f"haproxy-{listen}"
        folder.mkdir()
        servers = "".join(
            f"  server d{n} {host}:{port} check inter 100ms fall 1 rise 2 on-marked-down "
            "shutdown-sessions\n"
            for n, (host, port) in enumerate(dests)
        )
        (folder / "haproxy.cfg").write_text(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 1s\n"
            "  timeout client 1h\n  timeout server 1h\n  retries 2\n  option redispatch\n"
            f"listen tunnel\n  bind 127.0.0.1:{listen}\n  balance roundrobin\n{servers}"
        )
        super().__init__(
            "haproxy", [program("haproxy"), "-db", "-f", folder / "haproxy.cfg"], folder
        )
        self.wait_listening(listen)


def behind_a_balancer(stage: Stage) -> str:
    """HAProxy in front of two dests, one killed under load: new connections go on."""
    ports = [stage.suite.ports.take() for _ in range(2)]
    front = stage.suite.ports.take()
    dests = [
        stage.dest(f"behind-{n}", "127.0.0.1", port)
        for n, port in enumerate(ports)
    ]
    over = threading.Event()
    served: list[float] = []
    broken: list[float] = []

    def load() -> None:
        while not over.is_set():
            try:
                exchange(stage.service.port, 16 * 1024)
                served.append(time.monotonic())
            except (OSError, AssertionError):
                broken.append(time.monotonic())

    with (
        Haproxy(stage, front, [("127.0.0.1", port) for port in ports]),
        stage.source("balanced", "127.0.0.1", front, {"workers": 2}) as source,
    ):
        threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(served) > 50, 20, "load")
            # The one that carries a worker's tunnel.
            victim = next(dest for dest in dests if dest.events("session.up"))
            killed = time.monotonic()
            victim.popen.kill()
            victim.popen.wait()
            source.wait_event("session.up", seconds=20, count=3)
            before = len(served)
            wait_until(lambda: len(served) > before + 100, 20, "load after the kill")
        finally:
            over.set()
            for thread in threads:
                thread.join()
        late = [at for at in broken if at > killed + 5 * PATIENCE]
        check_equal(late, [], "connections that failed later than 5 s after the kill")
        check(not [at for at in broken if at < killed], "connections failed before the kill")
        gap = max(b - a for a, b in zip(served, served[1:]) if b > killed)
        other = next(dest for dest in dests if dest is not victim)
        other.stop()
        victim.stop()
    return f"{len(served)} served, {len(broken)} broken, longest gap {gap:.2f} s"


def moves_behind_a_balancer(stage: Stage) -> str:
    """A refresh through the balancer lands on another dest: old streams finish where they are."""
    ports = [stage.suite.ports.take() for _ in range(2)]
    front = stage.suite.ports.take()
    with (
        stage.dest("turn-0", "127.0.0.1", ports[0]) as zero,
        stage.dest("turn-1", "127.0.0.1", ports[1]) as one,
    ):
        changes = {"connection_refresh_interval_secs": 2}
        with (
            Haproxy(stage, front, [("127.0.0.1", port) for port in ports]),
            stage.source("turning", "127.0.0.1", front, changes) as source,
            Conversation(stage.service.port) as talk,
        ):
            talk.say(b"on the first")
            source.wait_event("tunnel.draining", seconds=15)
            talk.say(b"on the same still")
            works(stage)
            talk.finish()
            ups = [len(dest.events("session.up")) for dest in (zero, one)]
            check(min(ups) > 0, f"sessions: {ups}")
    return f"sessions at the two: {ups}"


def main() -> int:
    with Suite("More than one dest") as suite, Echo(suite.folder, suite.ports) as echo:
        stage = Stage(suite, echo)
        suite.run("a list of two, the first killed and back", list_of_two, stage)
        suite.run("a dest that comes and goes", comes_and_goes, stage)
        suite.run("silence at the first when all are lost", silence_at_the_first, stage)
        suite.run("a session that is lost stays where its tunnel is", session_lost_in_place, stage)
        suite.run("a refresh that is refused changes nothing", refresh_refused_in_place, stage)
        suite.run("HAProxy in front of two, one killed under load", behind_a_balancer, stage)
        suite.run("HAProxy moves a session", moves_behind_a_balancer, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
