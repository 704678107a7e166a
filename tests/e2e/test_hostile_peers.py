#!/usr/bin/env python3
"""Peers that mean harm: with a certificate that is right, and all that follows from it (tests/hostile).

Each attack is set on a real daemon, which ends the session for the right reason or bears it: it lives,
keeps within its memory, goes quiet when the attack is over and leaves nothing open; and beside it
another source's streams move their bytes, exactly, all the time."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.datagrams import UdpEcho
from harness.echo import Conversation, Echo
from harness.ports import Ports
from harness.process import PATIENCE, SANITIZED, run, wait_until
from harness.suite import LONG, Suite, check, check_equal
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
MODE = {"crypto": {"kem_mode": "mlkem768"}}
BUDGET_MB = 16  # the least that can be configured
# Beside its budget: what a daemon is before it does anything, sessions, blocks that are kept.
MEMORY_MB = 64

LIVES = None  # the session bears it, and the attack itself has looked whether it does

ON_SESSION: dict[str, str | None] = {
    "settings_missing": "unexpected",
    "settings_twice": "unexpected",
    "settings_later": "unexpected",
    "settings_too_many": "malformed",
    "settings_repeated": "malformed",
    "settings_unknown": LIVES,
    "settings_wild": LIVES,
    "settings_of_a_moment": "key_expired",
    "pings_in_one_record": "limit",
    "pings_that_are_read": LIVES,
    "pings_unread": "limit",
    "pongs_unasked": LIVES,
    "go_away_flood": LIVES,
    "frames_to_be_ignored": LIVES,
    "frame_unknown": "unknown_frame",
    "frames_malformed": "malformed",
    "frame_longer_than_its_record": "malformed",
    "record_empty": "malformed",
    "record_too_long": "malformed",
    "record_of_another_kind": "malformed",
    "record_of_another_epoch": "unexpected",
    "record_of_garbage": "auth_tag",
    "record_first_of_garbage": "key_confirm",
    "record_twice": "auth_tag",
    "switch_flood": "limit",
    "switch_not_last": "unexpected",
    "switch_to_what_is_not": "unexpected",
    "switch_far": "unexpected",
    "exchange_of_another_generation": "unexpected",
    "exchange_unfinished": LIVES,
    "exchange_of_a_wrong_key": "malformed",
    "exchange_too_long": "malformed",
    "exchange_with_a_gap": "malformed",
    "exchange_twice_at_once": "unexpected",
    "exchange_flood": "limit",
}
ON_STREAM: dict[str, str | None] = {
    "open_backwards": "stream_state",
    "open_twice": "stream_state",
    "open_the_last": "stream_state",
    "open_beyond_the_service": LIVES,
    "open_without_end": "limit",
    "rapid_reset": LIVES,
    "rapid_reset_unread": "limit",
    "targets_not_allowed": LIVES,
    "data_on_none": "stream_state",
    "data_with_a_gap": "stream_state",
    "data_again": "stream_state",
    "data_behind_fin": "stream_state",
    "data_behind_reset": "stream_state",
    "data_beyond_credit": "flow_control",
    "data_before_accept": "flow_control",
    "data_at_the_end_of_numbers": "malformed",
    "data_byte_by_byte": LIVES,
    "credit_for_none": "stream_state",
    "credit_for_what_was_not_sent": "flow_control",
    "credit_that_shrinks": LIVES,
    "credit_byte_by_byte": LIVES,
    "never_reads": LIVES,
    "never_acknowledges": LIVES,
    "accept_by_a_source": "unexpected",
    "reset_twice": "stream_state",
    "reset_of_another_size": "stream_state",
    "reset_of_none": "stream_state",
    "flows_without_end": LIVES,
    "flows_open_and_shut": LIVES,
    "datagrams_of_none": LIVES,
    "datagrams_without_end": LIVES,
    "datagram_too_long": "malformed",
}
ON_TUNNEL: dict[str, str | None] = {
    "resume_on_fresh": "unexpected",
    "resume_of_more_than_was_sent": "resume",
    "resume_of_less_than_was_acknowledged": "resume",
    "resume_of_a_stream_twice": "resume",
    "resume_with_fewer_streams": "resume",
    "resume_again": "unexpected",
    "resume_of_streams_unknown": LIVES,
    "resume_without_end": LIVES,
    "stream_before_resume": "unexpected",
    "session_of_an_old_number": "superseded",
    "session_fresh_behind_resumed": "superseded",
    "sessions_beyond": LIVES,
    "tunnel_of_another": LIVES,
    "tunnel_without_its_secret": LIVES,
    "records_unfinished": LIVES,
    "handshake_messages": LIVES,
    "handshakes_that_stop": LIVES,
}
ON_DEST = {
    "sessions": ON_SESSION,
    "streams and flows": ON_STREAM,
    "tunnels": ON_TUNNEL,
}
# What a session bears from a source, it does not from a dest, which must not begin an exchange.
ON_SESSION_OF_SOURCE = ON_SESSION | {
    "exchange_unfinished": "unexpected",
    "exchange_of_a_wrong_key": "unexpected",
    "exchange_too_long": "unexpected",
    "exchange_with_a_gap": "unexpected",
}
del ON_SESSION_OF_SOURCE["exchange_twice_at_once"]
del ON_SESSION_OF_SOURCE["exchange_flood"]
ON_SOURCE: dict[str, str | None] = {
    "opens_a_stream": "unexpected",
    "opens_a_flow": "unexpected",
    "accept_of_none": "stream_state",
    "accept_twice": "stream_state",
    "accept_behind_reset": "stream_state",
    "data_of_none": "stream_state",
    "data_with_a_gap": "stream_state",
    "data_behind_fin": "stream_state",
    "data_beyond_credit": "flow_control",
    "ack_of_what_was_not_sent": "flow_control",
    "reset_of_another_size": "stream_state",
    "reset_twice": "stream_state",
    "resume_of_more_streams": "resume",
    "resume_of_a_stream_unknown": "resume",
    "resume_of_more_than_was_sent": "resume",
    "resume_of_fewer_streams": "resume",
    "takes_no_streams": LIVES,
    "never_reads": LIVES,
}


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
        self.numbers: dict[str, int] = {}
        self.peer = peer
        self.heard = Heard(daemon.err_path)
        self.descriptors = daemon.fd_count()
        self.after: list[Callable[[], None]] = []

    def attack(self, name: str, reason: str | None, **numbers: int) -> str:
        """Sets the attack on the daemon; what the attack has found to say."""
        before = len(self.heard.look(self.peer))
        words = [f"{key}={value}" for key, value in (self.numbers | numbers).items()]
        done = run([*self.base, name, *words], seconds=30, status=None)
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

    def attacks(self, table: dict[str, str | None], **numbers: int) -> str:
        wrong = []
        for name, reason in table.items():
            try:
                self.attack(name, reason, **numbers)
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
    suite: Suite, authority: Authority, name: str = "dest", dest: dict | None = None
) -> Iterator[Attacked]:
    """A dest, and another source, whose port `echo` a neighbour may use."""
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
        config = dest_config(tunnel_port, [*services.values()], authority, merge(changes, MODE))
        daemon = stack.enter_context(ready(start("dest", name, suite.folder, config)))
        config = source_config(tunnel_port, [services["echo"]], authority, MODE)
        stack.enter_context(ready(start("source", f"beside-{name}", suite.folder, config)))
        files = folder_of(authority, "client", "mallory", "trent")
        attacked = Attacked(daemon, "dest", tunnel_port, files, "mallory")
        attacked.numbers = {name: service.port for name, service in services.items()}
        attacked.numbers["count"] = 300
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
    suite: Suite, authority: Authority, name: str, source: dict
) -> Iterator[Attacked]:
    """Its dest is the hostile one."""
    tunnel_port, entry = suite.ports.take(), suite.ports.take()
    files = folder_of(authority, "server", "dest-of-harm", None)
    changes = {"source": {"memory_budget_mb": BUDGET_MB} | source}
    config = source_config(tunnel_port, [entry], authority, merge(changes, MODE))
    with start("source", name, suite.folder, config) as daemon:
        daemon.wait_event("source.ready", seconds=15)
        attacked = Attacked(daemon, "source", tunnel_port, files, "dest-of-harm")
        attacked.numbers = {"echo": entry, "count": 100}
        yield attacked


PATIENT = {
    "initial_reconnect_delay_ms": 10,
    "max_reconnect_delay_ms": 50,
    "circuit_breaker_max_restarts": 10000,
}


def all_tunnels(attacked: Attacked, neighbour: Neighbour) -> str:
    """One source takes what it gets; it is told why it gets no more, and another is let in."""
    done = beside(attacked, neighbour, {"tunnels_beyond": LIVES})
    refused = attacked.daemon.events("handshake.failed", error="limit")
    told = [event for event in refused if "kept for other sources" in event["detail"]]
    check(told and told[-1]["retry_after_ms"] > 0, f"refused otherwise: {refused[-1:]}")
    return done


def anything(attacked: Attacked) -> str:
    count = (2000 if LONG else 40) // (4 if SANITIZED else 1)
    seed = random.randrange(2**32) if LONG else 1
    attacked.attack("any", None, seed=seed, count=count)
    return f"{count} sessions from seed {seed}"


# Attacks by which a dest would have its source make one session after the other. The breaker lets it
# make six, then it waits for a minute.
WITHOUT_END = ("sends_away_for_ever", "hangs_up_for_ever", "ages_keys_for_ever")
SESSIONS = 6


def without_end(suite: Suite, authority: Authority) -> str:
    """All at the same time: each takes seconds, and next to nothing else."""
    usual = {"max_reconnect_delay_ms": 60000}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        tries = []
        for name in WITHOUT_END:
            source = stack.enter_context(attacked_source(suite, authority, name, usual))
            tries.append(pool.submit(source.attack, name, LIVES, count=SESSIONS))
        return ", ".join(one.result() for one in tries)


def rest(suite: Suite, attacked: Attacked) -> None:
    name = attacked.daemon.name
    suite.run(f"memory of the {name}", attacked.is_flat)
    suite.run(f"the {name} comes to rest", attacked.is_quiet)
    suite.run(f"the {name} leaves nothing open", attacked.is_closed)


def main() -> int:
    with Suite("hostile peers") as suite:
        authority = Authority(suite.folder, algorithm="ecdsa-p256")
        with attacked_dest(suite, authority) as dest:
            with Neighbour(dest.numbers["echo"]) as neighbour:
                for name, table in ON_DEST.items():
                    suite.run(f"a source: {name}", beside, dest, neighbour, table)
                for name in ("memory_of_many_tunnels", "flood_of_datagrams", "flood_of_refusals"):
                    suite.run(f"a source: {name}", fair, dest, neighbour, name)
                suite.run("a source: anything", anything, dest)
                # The last: they stay for a second.
                suite.run("a source: all the tunnels", all_tunnels, dest, neighbour)
            rest(suite, dest)
        places = {"max_connections_per_service": 1000}
        with attacked_dest(suite, authority, "dest-of-many", places) as dest:
            with Neighbour(dest.numbers["echo"]) as neighbour:
                name = "memory_of_waiting_streams"
                suite.run(f"a source: {name}", fair, dest, neighbour, name, 8)
        with attacked_source(suite, authority, "source", PATIENT) as source:
            suite.run("a dest: sessions", source.attacks, ON_SESSION_OF_SOURCE)
            suite.run("a dest: streams", source.attacks, ON_SOURCE)
            suite.run("a dest: anything", anything, source)
            rest(suite, source)
        suite.run("a dest: what never ends", without_end, suite, authority)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
