#!/usr/bin/env python3
"""Starting, stopping, draining, falling back to another port, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

from harness import memcheck
from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, SANITIZED, Process, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    Authority,
    Pair,
    Service,
    binary,
    dest_config,
    merge,
    ready,
    source_config,
    start,
    toml,
)

CONNECTIONS = 10_000
WARM_UP = 2_000
THREADS = 8
DRAIN_BOUND = 30.0
# Far more than libuv keeps of signals.
HANGUPS = 20_000
# What an allocator may keep: at 10,000 connections a leak of 250 bytes each is seen.
GROWTH_KIB = 2_500


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo

    def pair(self, name: str) -> Pair:
        service = Service(self.suite.ports.take(), self.echo.port)
        return Pair(self.suite.folder, self.suite.ports, [service], self.authority, name=name)


def ends_of(pair: Pair, role: str) -> tuple[Process, Process]:
    """The process of that role, and the other one."""
    assert pair.source and pair.dest
    return (pair.source, pair.dest) if role == "source" else (pair.dest, pair.source)


def is_served(port: int) -> bool:
    try:
        with Conversation(port, seconds=1) as talk:
            talk.say(b"anybody?")
    except (OSError, AssertionError):
        return False
    return True


# -- signals


def drains(stage: Stage, role: str, number: int) -> str:
    """New clients are turned away, the old one finishes, then the process ends with 0."""
    with stage.pair(f"drain-{role}-{number}") as pair:
        process, _ = ends_of(pair, role)
        port = pair.services[0].port
        with Conversation(port) as talk:
            talk.say(os.urandom(100_000))
            process.send_signal(number)
            wait_until(lambda: not is_served(port), 5, "new clients to be turned away")
            check(process.is_running(), "it ended while a stream was open")
            talk.say(os.urandom(5_000_000))
            finished = time.monotonic()
            talk.finish()
        check_equal(process.wait(5), 0, "exit status")
        return f"ended {(time.monotonic() - finished) * 1000:.0f} ms after its last stream"


def ends_when_idle(stage: Stage, role: str) -> str:
    with stage.pair(f"idle-{role}") as pair:
        process, _ = ends_of(pair, role)
        exchange(pair.services[0].port)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        check_equal(process.wait(2), 0, "exit status")
        return f"{(time.monotonic() - started) * 1000:.0f} ms"


def second_signal(stage: Stage, role: str) -> str:
    with stage.pair(f"second-{role}") as pair:
        process, _ = ends_of(pair, role)
        with Conversation(pair.services[0].port) as talk:
            talk.say(b"open")
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            check(process.is_running(), "it ended while a stream was open")
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            check_equal(process.wait(2), 0, "exit status")
            return f"{(time.monotonic() - started) * 1000:.0f} ms"


def many_signals(stage: Stage, role: str) -> str:
    with stage.pair(f"many-{role}") as pair:
        process, _ = ends_of(pair, role)
        exchange(pair.services[0].port)
        sent = 0
        while process.is_running():
            process.send_signal(signal.SIGTERM)
            sent += 1
        check_equal(process.wait(1), 0, "exit status")
        begun = len(process.events("shutdown.begin"))
        check(begun <= 2, f"{begun} lines of log for the signals")
        return f"{sent} signals"


def many_hangups(stage: Stage, role: str) -> str:
    """SIGHUP without end is some reloads, and drowns no other signal."""
    with stage.pair(f"hangups-{role}") as pair:
        process, _ = ends_of(pair, role)
        exchange(pair.services[0].port)
        for _ in range(HANGUPS):
            process.send_signal(signal.SIGHUP)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        check_equal(process.wait(20), 0, "exit status")
        return f"{HANGUPS} signals, the end {(time.monotonic() - started) * 1000:.0f} ms later"


# A network of its own, whose name server takes questions and answers none. $1: its folder.
SILENT = r"""
set -eu
ip link set lo up
printf 'nameserver 127.0.0.1\noptions timeout:30\n' >"$1/resolv.conf"
printf 'hosts: dns\n' >"$1/nsswitch.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
exec python3 -c '
import os, socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.set_inheritable(True)
if os.fork() == 0:
    server.recv(512)
    open(sys.argv[1], "w").close()
    os._exit(0)
os.execv(sys.argv[2], sys.argv[2:])' "$1/asked" "${@:2}"
"""
SPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount"]


def name_server_is_silent(stage: Stage) -> str:
    """Nobody waits for a name any more that is still being looked up when the end has come."""
    if memcheck.ON or subprocess.run([*SPACES, "true"], capture_output=True).returncode != 0:
        return "no name spaces here"
    folder = stage.suite.folder
    rows = [{"port": 1024, "listen_path": folder / "silent.sock"}]
    changes = {"source": {"dest_host": "dest.example", "exposed_ports": rows}}
    table = source_config(1, [], stage.authority, changes)
    config = folder / "silent.toml"
    config.write_text(toml(table))
    command = [binary(), "source", "--config", config, "--log-format", "json"]
    argv = [*SPACES, "bash", "-c", SILENT, "bash", folder, *command]
    with Process("silent", argv, folder) as source:
        wait_until((folder / "asked").exists, 20, "the first question to the name server")
        started = time.monotonic()
        source.send_signal(signal.SIGTERM)
        check_equal(source.wait(10), 0, "exit status")
        check_equal(source.events("shutdown.overdue")[0]["lookups"], 1, "what was not waited for")
        check(not (folder / "silent.sock").exists(), "the socket's file is still there")
    return f"{time.monotonic() - started:.1f} s"


class Bounded:
    """Streams that never end, at both roles; the wait is spent on the other cases."""

    def __init__(self, stage: Stage) -> None:
        self.pairs = {role: stage.pair(f"bound-{role}") for role in ("source", "dest")}
        self.talks: list[Conversation] = []
        self.ended: dict[str, float] = {}
        self.watchers: list[threading.Thread] = []

    def begin(self) -> None:
        for role, pair in self.pairs.items():
            pair.__enter__()
            talk = Conversation(pair.services[0].port)
            talk.say(b"never ends")
            self.talks.append(talk)
            process, _ = ends_of(pair, role)
            process.send_signal(signal.SIGTERM)
            watcher = threading.Thread(
                target=self.watch, args=(role, process, time.monotonic()), daemon=True
            )
            watcher.start()
            self.watchers.append(watcher)

    def watch(self, role: str, process: Process, started: float) -> None:
        process.popen.wait()
        self.ended[role] = time.monotonic() - started

    def finish(self) -> str:
        for watcher in self.watchers:
            watcher.join(DRAIN_BOUND + 10)
        for role, pair in self.pairs.items():
            process, _ = ends_of(pair, role)
            check(role in self.ended, f"the {role} did not end")
            check_equal(process.popen.returncode, 0, f"exit status of the {role}")
            check(self.ended[role] <= DRAIN_BOUND + 3, f"the {role} took {self.ended[role]:.0f} s")
        for talk in self.talks:
            talk.sock.close()
        for pair in self.pairs.values():
            pair.__exit__(None)
        return ", ".join(f"{role} {seconds:.0f} s" for role, seconds in self.ended.items())


# -- ports


def hold(port: int) -> socket.socket:
    """Another program that listens there."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", port))
    holder.listen(1)
    return holder


def falls_back(stage: Stage) -> str:
    """Two ports in use: the listener is on the third, and a warning names both numbers."""
    suite = stage.suite
    tunnel_port, first = suite.ports.take(), suite.ports.take_run(6)
    service = Service(first, stage.echo.port)
    holders = [hold(first), hold(first + 1)]
    with ready(
        start(
            "dest", "back-dest", suite.folder, dest_config(tunnel_port, [service], stage.authority)
        )
    ):
        config = source_config(tunnel_port, [first], stage.authority)
        with ready(start("source", "back-source", suite.folder, config)) as source:
            warning = source.wait_event("listener.fallback")
            numbers = (warning["configured_port"], warning["port"])
            check_equal(numbers, (first, first + 2), "the two ports of the warning")
            check_equal(warning["level"], "warn", "the warning's level")
            exchange(first + 2, 1_000_000)
    for holder in holders:
        holder.close()
    return f"{first} became {first + 2}"


class Named:
    """A target that says whose it is."""

    def __init__(self, service: Service) -> None:
        self.name = f"target of {service.port}".encode()
        self.listener = socket.create_server(("127.0.0.1", service.target_port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.sendall(self.name)

    def __enter__(self) -> Named:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def name_at(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as sock:
        said = b""
        while piece := sock.recv(100):
            said += piece
    return said.decode()


def leaves_other_ports(stage: Stage) -> str:
    """The ports of two rows of three in use: the third keeps its own, though it comes last, and
    nobody gets the number of the metrics."""
    suite = stage.suite
    tunnel_port, first = suite.ports.take(), suite.ports.take_run(8)
    services = [Service(first + i, suite.ports.take()) for i in range(3)]
    holders = [hold(first), hold(first + 1)]
    table = dest_config(tunnel_port, services, stage.authority)
    config = source_config(tunnel_port, services, stage.authority)
    config["metrics"] = {"enabled": True, "metrics_port": first + 3}
    with ExitStack() as stack:
        for service in services:
            stack.enter_context(Named(service))
        stack.enter_context(ready(start("dest", "others-dest", suite.folder, table)))
        source = stack.enter_context(ready(start("source", "others-source", suite.folder, config)))
        said = {event["configured_port"]: event["port"] for event in source.events("listener.up")}
        wanted = {first: first + 4, first + 1: first + 5, first + 2: first + 2}
        check_equal(said, wanted, "who listens where")
        for configured, port in wanted.items():
            check_equal(name_at(port), f"target of {configured}", f"who serves port {port}")
        # Nor does a row that comes later get what another has fallen back to.
        more = merge(config, {})
        more["source"] = config["source"] | {
            "exposed_ports": [*config["source"]["exposed_ports"], {"port": first + 4}]
        }
        (suite.folder / "others-source.toml").write_text(toml(more))
        source.send_signal(signal.SIGHUP)
        failed = source.wait_event("config.reload_failed")
        check(str(first + 4) in failed["detail"], f"it said {failed}")
        check_equal(name_at(first + 4), f"target of {first}", "who serves it then")
    for holder in holders:
        holder.close()
    return f"{first} became {first + 4}, {first + 2} stayed"


def falls_no_further(stage: Stage, role: str) -> None:
    """The port and the next five in use: an error at start that names the port, and status 1."""
    suite = stage.suite
    first = suite.ports.take_run(6)
    holders = [hold(first + i) for i in range(6)]
    if role == "source":
        config = source_config(suite.ports.take(), [first], stage.authority)
    else:
        config = dest_config(first, [], stage.authority)
    with start(role, f"full-{role}", suite.folder, config) as process:
        check_equal(process.wait(5), 1, "exit status")
        check(str(first) in process.text(), f"the port is not named: {process.text()}")
        check("in use" in process.text(), f"the reason is not named: {process.text()}")
    for holder in holders:
        holder.close()


# -- peers that come and go


def dest_comes_later(stage: Stage) -> None:
    suite = stage.suite
    tunnel_port = suite.ports.take()
    service = Service(suite.ports.take(), stage.echo.port)
    config = source_config(tunnel_port, [service.port], stage.authority)
    with start("source", "early-source", suite.folder, config) as source:
        source.wait_event("source.ready")
        source.wait_event("handshake.failed", error="refused")
        table = dest_config(tunnel_port, [service], stage.authority)
        with ready(start("dest", "early-dest", suite.folder, table)):
            source.wait_event("session.up")
            exchange(service.port)


def dest_restarts(stage: Stage) -> str:
    """A dest that is killed and started again is found again, with no new start of the source."""
    with stage.pair("restart") as pair:
        assert pair.source and pair.dest
        port = pair.services[0].port
        talk = Conversation(port)
        talk.say(b"before")
        ups = len(pair.source.events("session.up"))
        pair.dest.popen.kill()
        pair.dest.wait()
        pair.source.wait_event("session.down")
        pair.dest = ready(start("dest", "restart-again", pair.folder, pair.dest_table))
        started = time.monotonic()
        pair.source.wait_event("session.up", count=ups + 1)
        talk.sock.settimeout(10)
        try:
            check_equal(talk.sock.recv(1), None, "what the client of a lost stream reads")
        except ConnectionResetError:
            pass
        talk.sock.close()
        exchange(port, 1_000_000)
        return f"up again after {(time.monotonic() - started) * 1000:.0f} ms"


# -- nothing is left


def one_connection(port: int, number: int) -> None:
    """Connections end in every way there is: by turns with FIN, FIN after data, and RST."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    with sock:
        kind = number % 4
        if kind in (0, 1):
            data = number.to_bytes(8, "big") * (1 if kind else 500)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            got = bytearray()
            while piece := sock.recv(65536):
                got += piece
            check(got == data, f"connection {number}: wrong bytes came back")
        elif kind == 2:
            sock.sendall(b"reset me")
            check_equal(sock.recv(8), b"reset me", "the echo")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_WR)
            check_equal(sock.recv(1), b"", "behind an empty stream")


def many_connections(port: int, count: int) -> None:
    errors: list[BaseException] = []

    def some(first: int) -> None:
        try:
            for number in range(first, count, THREADS):
                one_connection(port, number)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=some, args=(n,), daemon=True) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def settle(process: Process, most: int) -> int:
    wait_until(lambda: process.fd_count() <= most, 10, f"{process.name} to close descriptors")
    time.sleep(0.3)
    return process.rss_kib()


def leaks_nothing(stage: Stage) -> str:
    with stage.pair("leak") as pair:
        assert pair.source and pair.dest
        port = pair.services[0].port
        processes = (pair.source, pair.dest)
        descriptors = {p.name: p.fd_count() for p in processes}
        many_connections(port, WARM_UP)
        before = {p.name: settle(p, descriptors[p.name]) for p in processes}
        started = time.monotonic()
        many_connections(port, CONNECTIONS)
        rate = CONNECTIONS / (time.monotonic() - started)
        notes = []
        for process in processes:
            growth = settle(process, descriptors[process.name]) - before[process.name]
            # A sanitizer keeps what is freed for a while; it looks for leaks itself, at the end.
            check(SANITIZED or growth <= GROWTH_KIB, f"{process.name} grew by {growth} KiB")
            notes.append(f"{process.name} {before[process.name]} KiB {growth:+d}")
        for process in processes:
            check_equal(process.stop(), 0, f"exit status of {process.name}")
        return f"{rate:.0f}/s, {', '.join(notes)}"


def main() -> int:
    with Suite("lifecycle") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            bounded = Bounded(stage)
            suite.run("streams that never end, and SIGTERM", bounded.begin)
            for role in ("source", "dest"):
                suite.run(
                    f"{role}: SIGTERM lets streams finish", drains, stage, role, signal.SIGTERM
                )
                suite.run(f"{role}: SIGINT lets streams finish", drains, stage, role, signal.SIGINT)
                suite.run(f"{role}: SIGTERM without streams", ends_when_idle, stage, role)
                suite.run(f"{role}: a second signal ends it", second_signal, stage, role)
                suite.run(f"{role}: signals to the very end", many_signals, stage, role)
                suite.run(f"{role}: reloads without end", many_hangups, stage, role)
            suite.run("a name server that does not answer", name_server_is_silent, stage)
            suite.run("a port in use", falls_back, stage)
            suite.run("ports in use, and others behind them", leaves_other_ports, stage)
            for role in ("source", "dest"):
                suite.run(f"{role}: six ports in use", falls_no_further, stage, role)
            suite.run("a dest that comes later", dest_comes_later, stage)
            suite.run("a dest that is killed and comes back", dest_restarts, stage)
            suite.run(f"{CONNECTIONS} connections leave nothing behind", leaks_nothing, stage)
            suite.run("streams that never end are cut after 30 s", bounded.finish)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
