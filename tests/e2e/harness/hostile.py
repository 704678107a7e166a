"""Peers that mean harm (tests/hostile), the daemons that they attack, and who is beside them."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.datagrams import UdpEcho
from harness.echo import Conversation, Echo
from harness.ports import Ports
from harness.process import PATIENCE, SANITIZED, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    Authority,
    Daemon,
    Service,
    binary,
    dest_config,
    merge,
    ready,
    source_config,
    start,
)

HOSTILE = os.environ.get("UTUN_HOSTILE") or binary().parent / "tests" / "hostile" / "hostile"
BUDGET_MB = 16  # the least that can be configured
# Beside its budget: what a daemon is before it does anything, sessions, blocks that are kept.
MEMORY_MB = 64

LIVES = None  # the session bears it, and the attack itself has looked whether it does


class Heard:
    """The lines of a daemon's log, each read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.downs: list[str] = []  # reasons of sessions that ended, of the peer that means harm

    def look(self, peer: str) -> list[str]:
        with open(self.path, "rb") as log:
            log.seek(self.at)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.at += len(whole)
        for line in whole.splitlines():
            if b'"session.down"' in line:
                event = json.loads(line)
                if event["peer"] == peer:
                    self.downs.append(event["reason"])
        return self.downs


class Target:
    """A service that never reads, or one that never stops."""

    def __init__(self, ports: Ports, is_spring: bool) -> None:
        self.port = ports.take()
        self.is_spring = is_spring
        self.over = threading.Event()
        self.door = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.kept: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        much = b"x" * 65536
        self.door.setblocking(False)
        while not self.over.wait(0.005):
            try:
                while True:
                    client = self.door.accept()[0]
                    client.setblocking(False)
                    self.kept.append(client)
            except BlockingIOError:
                pass
            if self.is_spring:
                self.kept = [client for client in self.kept if self.pour(client, much)]
        for client in [self.door, *self.kept]:
            client.close()

    def pour(self, client: socket.socket, much: bytes) -> bool:
        try:
            while client.send(much) == len(much):
                pass
        except BlockingIOError:
            return True
        except OSError:
            client.close()
            return False
        return True

    def forget(self) -> None:
        """Of those that never read: their connections are over."""
        if not self.is_spring:
            kept, self.kept = self.kept, []
            for client in kept:
                client.close()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()


class Neighbour:
    """Another source's client, who goes on whatever happens: what it says has to come back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.rounds = 0
        self.slowest = 0.0
        self.error: Exception | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.talk, daemon=True)

    def talk(self) -> None:
        chance = random.Random(1)
        try:
            with Conversation(self.port, seconds=60) as conversation:
                while not self.over.wait(0.01):
                    began = time.monotonic()
                    conversation.say(chance.randbytes(100_000))
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.rounds += 1
                conversation.finish()
        except Exception as e:
            self.error = e

    def __enter__(self) -> Neighbour:
        self.thread.start()
        wait_until(lambda: self.rounds > 0 or self.error, 20, "the neighbour to begin")
        return self

    def check(self) -> None:
        if self.error:
            raise self.error

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.over.set()
        self.thread.join(60 * PATIENCE)
        if kind is None:
            self.check()
            check(not self.thread.is_alive(), "the neighbour still waits")


def folder_of(authority: Authority, kind: str, name: str, other: str | None) -> Path:
    """What the hostile peer shows: tests/hostile/main.c."""
    folder = authority.folder / f"as-{name}"
    if folder.exists():
        return folder
    folder.mkdir()
    names = ["--dns-names", "localhost", "--ip-addresses", "127.0.0.1"] if kind == "server" else []
    (folder / "ca.crt").write_bytes(authority.ca.cert.read_bytes())
    for file, who in (("peer", name), ("other", other)):
        if who is not None:
            made = authority.issue(kind, who, *names)
            (folder / f"{file}.crt").write_bytes(made.cert.read_bytes())
            (folder / f"{file}.key").write_bytes(made.key.read_bytes())
            (folder / f"{file}.key").chmod(0o600)
    return folder


class Attacked:
    """A daemon, what it was before, and who attacks it."""

    def __init__(self, daemon: Daemon, role: str, port: int, files: Path, peer: str) -> None:
        self.daemon = daemon
        self.base = [HOSTILE, role, str(port), files]
        self.words: dict[str, int | str] = {"patience_ms": int(20000 * PATIENCE)}
        self.peer = peer
        self.heard = Heard(daemon.err_path)
        self.descriptors = daemon.fd_count()
        self.after: list[Callable[[], None]] = []

    def attack(self, name: str, reason: str | None, seconds: float = 30, **words: int) -> str:
        """Sets the attack on the daemon; what the attack has found to say."""
        before = len(self.heard.look(self.peer))
        all_words = [f"{key}={value}" for key, value in (self.words | words).items()]
        done = run([*self.base, name, *all_words], seconds=seconds, status=None)
        said = (done.stdout[-200:] + done.stderr[-400:]).strip()
        check_equal(done.returncode, 0, f"{name}: {said}")
        if reason is not None:
            wait_until(
                lambda: reason in self.heard.look(self.peer)[before:],
                20,
                f"a session to end by {reason}; they did by {self.heard.downs[before:]}",
            )
        check(self.daemon.is_running(), f"the daemon has ended with {self.daemon.popen.returncode}")
        for look in self.after:
            look()
        return said

    def attacks(self, table: dict[str, str | None], **words: int) -> str:
        wrong = []
        for name, reason in table.items():
            try:
                self.attack(name, reason, **words)
            except Exception as e:
                wrong.append(f"{name}: {e}")
                if not self.daemon.is_running():
                    break
        check(not wrong, "\n  ".join(["", *wrong]))
        return f"{len(table)} attacks"

    def is_flat(self) -> str:
        """Memory never went beyond its bound, and is not used beyond it."""
        most = self.daemon.status_kib("VmHWM") // 1024
        if not SANITIZED:
            check(most < BUDGET_MB + MEMORY_MB, f"{most} MiB at most, with {BUDGET_MB} for buffers")
        return f"at most {most} MiB"

    def is_quiet(self) -> None:
        """Nothing goes on when nobody does anything."""

        def rests() -> bool:
            before = self.daemon.cpu_seconds()
            time.sleep(0.5)
            return self.daemon.cpu_seconds() - before <= 0.05

        wait_until(rests, 20, f"{self.daemon.name} to come to rest")

    def is_closed(self) -> None:
        wait_until(
            lambda: self.daemon.fd_count() <= self.descriptors,
            20,
            f"descriptors to be closed, down to {self.descriptors}",
        )


@contextmanager
def attacked_dest(
    suite: Suite,
    authority: Authority,
    kem_mode: str,
    name: str = "dest",
    dest: dict | None = None,
    more: dict | None = None,
) -> Iterator[Attacked]:
    """A dest, and another source, whose port `echo` a neighbour may use."""
    mode = {"crypto": {"kem_mode": kem_mode}}
    with ExitStack() as stack:
        folder = suite.folder / f"behind-{name}"
        folder.mkdir()
        echo = stack.enter_context(Echo(folder, suite.ports, name="echo"))
        udp = stack.enter_context(UdpEcho(folder, suite.ports))
        sink, spring = Target(suite.ports, False), Target(suite.ports, True)
        stack.callback(sink.stop)
        stack.callback(spring.stop)
        targets = {"echo": echo.port, "sink": sink.port, "spring": spring.port}
        targets["away"] = suite.ports.take()
        services = {name: Service(suite.ports.take(), port) for name, port in targets.items()}
        services["datagrams"] = Service(suite.ports.take_both(), udp.port, protocol="udp")
        changes = {
            "dest": {
                "workers": 1,
                "memory_budget_mb": BUDGET_MB,
                "max_tunnels": 300,
                "handshake_rate_limit": 0,
                "stream_resume_timeout_secs": 1,
            }
            | (dest or {}),
        }
        tunnel_port = suite.ports.take()
        changes = merge(merge(changes, mode), more or {})
        config = dest_config(tunnel_port, [*services.values()], authority, changes)
        daemon = stack.enter_context(ready(start("dest", name, suite.folder, config)))
        config = source_config(tunnel_port, [services["echo"]], authority, mode)
        stack.enter_context(ready(start("source", f"beside-{name}", suite.folder, config)))
        files = folder_of(authority, "client", "mallory", "trent")
        attacked = Attacked(daemon, "dest", tunnel_port, files, "mallory")
        attacked.words |= {name: service.port for name, service in services.items()}
        attacked.words |= {"count": 300, "kem_mode": kem_mode}
        attacked.after = [sink.forget]
        yield attacked


def beside(attacked: Attacked, neighbour: Neighbour, table: dict[str, str | None]) -> str:
    """The attacks, and the neighbour goes on."""
    rounds, neighbour.slowest = neighbour.rounds, 0.0
    done = attacked.attacks(table)
    wait_until(
        lambda: neighbour.error or neighbour.rounds > rounds + 1, 20, "the neighbour to go on"
    )
    neighbour.check()
    beats = f"{neighbour.rounds - rounds} x 100 kB beside them"
    return f"{done}, {beats}, the slowest in {neighbour.slowest:.2f} s"


def fair(attacked: Attacked, neighbour: Neighbour, name: str, part: int = 30) -> str:
    """As much work as one peer can cause, all the memory it may have: others have their part, and the
    log does not fill the disk. Without parts the neighbour stood still, without turns it was down to a
    fiftieth, and the log grew by 100 MB a second."""
    seconds = 1.5
    rounds = neighbour.rounds
    time.sleep(seconds)
    alone, rounds = neighbour.rounds - rounds, neighbour.rounds
    size = attacked.daemon.err_path.stat().st_size
    said = attacked.attack(name, LIVES, count=int(seconds * 1000))
    beside = neighbour.rounds - rounds
    grown = (attacked.daemon.err_path.stat().st_size - size) // 1000
    neighbour.check()
    check(beside >= max(1, alone // part), f"{beside} x 100 kB beside it, {alone} without it")
    check(grown < 4000, f"the log has grown by {grown} kB")
    result = f"{beside} x 100 kB beside it, {alone} without it, {grown} kB of log"
    return f"{said}; {result}" if said else result


@contextmanager
def attacked_source(
    suite: Suite,
    authority: Authority,
    kem_mode: str,
    name: str,
    source: dict,
    more: dict | None = None,
) -> Iterator[Attacked]:
    """Its dest is the hostile one."""
    mode = {"crypto": {"kem_mode": kem_mode}}
    tunnel_port, entry = suite.ports.take(), suite.ports.take()
    files = folder_of(authority, "server", "dest-of-harm", None)
    changes = {"source": {"memory_budget_mb": BUDGET_MB} | source}
    changes = merge(merge(changes, mode), more or {})
    config = source_config(tunnel_port, [entry], authority, changes)
    with start("source", name, suite.folder, config) as daemon:
        daemon.wait_event("source.ready", seconds=15)
        attacked = Attacked(daemon, "source", tunnel_port, files, "dest-of-harm")
        attacked.words |= {"echo": entry, "count": 100, "kem_mode": kem_mode}
        yield attacked


PATIENT = {
    "initial_reconnect_delay_ms": 10,
    "max_reconnect_delay_ms": 50,
    "circuit_breaker_max_restarts": 10000,
}


def rest(suite: Suite, attacked: Attacked) -> None:
    name = attacked.daemon.name
    suite.run(f"memory of the {name}", attacked.is_flat)
    suite.run(f"the {name} comes to rest", attacked.is_quiet)
    suite.run(f"the {name} leaves nothing open", attacked.is_closed)
