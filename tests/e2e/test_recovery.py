#!/usr/bin/env python3
"""Sessions die, streams live: cuts, black holes, refreshes and restarts that no client notices."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from content import sum_of, write_file
from harness.chaos import Chaos
from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, SANITIZED, Process, program, wait_until
from harness.servers import Nginx
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, Pair, Service, merge, ready, start

EACH = 200 if LONG else 16 if SANITIZED else 64  # MiB of one transfer
FLOWS = 8 if LONG else 2 if SANITIZED else 4  # each way
CUTS = 20 if LONG else 12
RATE = "2M" if SANITIZED else "10M"  # of one transfer, so that there is time for the cuts

# Cuts follow each other faster than an operator would want to see them.
SOURCE = {
    "circuit_breaker_max_restarts": 10_000,
    "initial_reconnect_delay_ms": 50,
    "max_reconnect_delay_ms": 300,
}
DEST = {"handshake_rate_limit": 0}


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo, nginx: Nginx) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo
        self.nginx = nginx


class Broken:
    """A pair with the relay between its ends, and services: echo, files, and what a case adds."""

    def __init__(
        self, stage: Stage, name: str, source: dict, dest: dict | None = None, extra: int = 0
    ) -> None:
        ports = stage.suite.ports
        targets = [stage.echo.port, stage.nginx.port] + ([extra] if extra else [])
        services = [Service(ports.take(), target) for target in targets]
        self.echo, self.files = services[0].port, services[1].port
        self.extra = services[-1].port
        self.pair = Pair(
            stage.suite.folder,
            ports,
            services,
            stage.authority,
            name=name,
            source_changes={"source": merge(SOURCE, source)},
            dest_changes={"dest": merge(DEST, dest or {})},
        )
        self.relay = Chaos(stage.suite.folder, ports, self.pair.tunnel_port, f"{name}-chaos")
        self.pair.source_table["source"]["dest_tunnel_port"] = self.relay.port

    def __enter__(self) -> Broken:
        self.relay.__enter__()
        self.pair.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pair.__exit__(*error[:1])
        self.relay.__exit__(*error)

    @property
    def source(self) -> Process:
        assert self.pair.source
        return self.pair.source

    @property
    def dest(self) -> Process:
        assert self.pair.dest
        return self.pair.dest

    def ups(self) -> int:
        return len(self.source.events("session.up"))


class Transfers:
    """So many downloads and as many uploads by curl, all at once."""

    def __init__(self, stage: Stage, port: int, name: str, flows: int, mebibytes: int) -> None:
        self.nginx = stage.nginx
        self.folder = stage.suite.folder
        self.name = name
        self.flows = flows
        original = self.nginx.files / name
        self.wanted = write_file(original, mebibytes)
        base = [program("curl"), "-sS", "--fail", "--limit-rate", RATE]
        base += ["--max-time", str(int(60 * PATIENCE))]
        url = f"http://127.0.0.1:{port}/{name}"
        self.curls: list[subprocess.Popen] = []
        for number in range(flows):
            down = ["-o", str(self.got(number)), url]
            up = ["-T", str(original), f"{url}-{number}"]
            self.curls += [subprocess.Popen([*base, *argv]) for argv in (down, up)]

    def got(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number}"

    def are_running(self) -> bool:
        return any(curl.poll() is None for curl in self.curls)

    def check(self) -> None:
        statuses = [curl.wait() for curl in self.curls]
        check_equal(statuses, [0] * len(self.curls), "curl's exit statuses")
        for number in range(self.flows):
            for path in (self.got(number), self.nginx.files / f"{self.name}-{number}"):
                check_equal(sum_of(path), self.wanted, f"SHA-256 of {path.name}")
                path.unlink()

    def kill(self) -> None:
        for curl in self.curls:
            if curl.poll() is None:
                curl.kill()


def check_resumed(broken: Broken, lost: int) -> None:
    """Every session but the first continued the tunnel, and no stream was given up."""
    for process in (broken.source, broken.dest):
        ups = process.events("session.up")
        check(len(ups) > lost // 2, f"only {len(ups)} sessions at {process.name}")
        check_equal([up["resumed"] for up in ups], [False] + [True] * (len(ups) - 1), "resumed")
        check_equal(process.events("tunnel.lost"), [], f"what {process.name} gave up")


# -- cuts


def survives_cuts(stage: Stage) -> str:
    """Transfers each way across cuts of all kinds; every byte arrives once, no client notices."""
    with Broken(stage, "cuts", {}) as broken:
        transfers = Transfers(stage, broken.files, "cut", FLOWS, EACH)
        cuts = 0
        try:
            dice = random.Random(1)
            while transfers.are_running() and cuts < 5 * CUTS:
                time.sleep(dice.uniform(0.05, 0.5))
                if dice.random() < 0.3:
                    broken.relay.do("stall")
                    time.sleep(0.1)
                if broken.relay.do(("fin", "rst")[cuts % 2]) > 0:
                    cuts += 1
            transfers.check()
        finally:
            transfers.kill()
        check(cuts >= CUTS, f"only {cuts} cuts came before the end; lower RATE")
        check_resumed(broken, cuts)
        pauses = sorted(float(e["pause_ms"]) for e in broken.source.events("session.resume"))
        middle = pauses[len(pauses) // 2]
        check(middle < 200 * PATIENCE, f"the median pause is {middle:.0f} ms")
        total = 2 * FLOWS * EACH
        return f"{cuts} cuts in {total} MiB; median pause {middle:.0f} ms"


def survives_a_stall(stage: Stage) -> None:
    """A path that stops for less than the heartbeat's patience costs nothing at all."""
    with Broken(stage, "stall", {}) as broken:
        ups = broken.ups()
        with Conversation(broken.echo) as talk:
            talk.say(os.urandom(1_000_000))
            broken.relay.do("stall")
            threading.Timer(1, broken.relay.do, ("go",)).start()
            talk.say(os.urandom(1_000_000))
            talk.finish()
        check_equal(broken.ups(), ups, "sessions")


class Slow:
    """A target that answers only once its client has finished, and when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.got = b""
        self.error: OSError | None = None
        self.finished = threading.Event()
        self.answer = threading.Event()
        self.reply = os.urandom(1_000_000)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        try:
            with self.listener.accept()[0] as sock:
                while piece := sock.recv(65536):
                    self.got += piece
                self.finished.set()
                self.answer.wait(30 * PATIENCE)
                sock.sendall(self.reply)
        except OSError as e:
            self.error = e


def half_closed_survives(stage: Stage) -> None:
    """The client has finished and waits; the answer comes over another session."""
    slow = Slow()
    with Broken(stage, "half", {}, extra=slow.port) as broken:
        with socket.create_connection(("127.0.0.1", broken.extra), timeout=20 * PATIENCE) as sock:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            check(slow.finished.wait(5 * PATIENCE), "the FIN did not arrive")
            ups = broken.ups()
            broken.relay.do("rst")
            broken.source.wait_event("session.up", count=ups + 1)
            time.sleep(0.2)
            slow.answer.set()
            got = b""
            while piece := sock.recv(65536):
                got += piece
        check_equal(slow.got, b"question", "what the target read")
        check(got == slow.reply, f"{len(got)} bytes of the answer came, or other ones")
        check_equal(slow.error, None, "error of the target")


def fin_in_an_outage(stage: Stage) -> None:
    """What a client says, and its FIN, while there is no session: both arrive later."""
    slow = Slow()
    with Broken(stage, "late", {}, extra=slow.port) as broken:
        with socket.create_connection(("127.0.0.1", broken.extra), timeout=20 * PATIENCE) as sock:
            sock.sendall(b"one ")
            broken.relay.do("refuse")
            broken.source.wait_event("session.down")
            sock.sendall(b"two")
            sock.shutdown(socket.SHUT_WR)
            time.sleep(0.3)
            check(not slow.finished.is_set(), "a FIN came through an outage")
            broken.relay.do("carry")
            check(slow.finished.wait(5 * PATIENCE), "the FIN did not arrive")
            check_equal(slow.got, b"one two", "what the target read")
            slow.answer.set()
            while sock.recv(65536):
                pass


def late_clients_wait(stage: Stage) -> str:
    """A client that comes during an outage is served when it is over."""
    with Broken(stage, "outage", {}) as broken:
        broken.relay.do("refuse")
        broken.source.wait_event("session.down")
        with Conversation(broken.echo) as talk:
            threading.Timer(0.5, broken.relay.do, ("carry",)).start()
            started = time.monotonic()
            talk.say(os.urandom(100_000))
            talk.finish()
        return f"served after {(time.monotonic() - started) * 1000:.0f} ms"


# -- the heartbeat


def finds_black_holes(stage: Stage) -> str:
    """Within interval + timeout x missed the source gives a silent session up; streams go on."""
    interval, timeout, missed = 300, 150, 2
    bound = (interval + timeout * missed) / 1000
    source = {
        "heartbeat_interval_ms": interval,
        "heartbeat_timeout_ms": timeout,
        "max_missed_pongs": missed,
    }
    slowest = 0.0
    with Broken(stage, "hole", source) as broken:
        with Conversation(broken.echo) as talk:
            for number in range(3):
                talk.say(os.urandom(500_000))
                ups = broken.ups()
                broken.relay.do("blackhole")
                started = time.monotonic()
                broken.source.wait_event("session.down", count=number + 1, reason="heartbeat")
                slowest = max(slowest, time.monotonic() - started)
                broken.source.wait_event("session.up", count=ups + 1)
                talk.say(os.urandom(500_000))
            # An idle session whose peer answers stays.
            ups = broken.ups()
            time.sleep(3 * bound)
            check_equal(broken.ups(), ups, "sessions of an idle tunnel")
            talk.finish()
        check(slowest <= bound + 0.25 * PATIENCE, f"found after {slowest:.2f} s")
        check_resumed(broken, 3)
    return f"at most {slowest * 1000:.0f} ms, bound {bound * 1000:.0f} ms"


# -- refresh


def refreshes_under_load(stage: Stage) -> str:
    """A new session every second, with transfers running and somebody who measures each pause."""
    with Broken(stage, "refresh", {"connection_refresh_interval_secs": 1}) as broken:
        transfers = Transfers(stage, broken.files, "fresh", 2, min(EACH, 40))
        slowest = 0.0
        try:
            with Conversation(broken.echo) as talk:
                while transfers.are_running():
                    started = time.monotonic()
                    talk.say(os.urandom(1000))
                    slowest = max(slowest, time.monotonic() - started)
                    time.sleep(0.002)
                talk.finish()
            transfers.check()
        finally:
            transfers.kill()
        refreshes = broken.source.events("session.refresh")
        check(len(refreshes) >= 3, f"only {len(refreshes)} refreshes")
        check_equal([e["resumed"] for e in refreshes], [True] * len(refreshes), "resumed")
        reasons = {e["reason"] for e in broken.source.events("session.down")}
        check_equal(reasons, {"superseded"}, "how sessions ended at the source")
        check_resumed(broken, len(refreshes))
        return f"{len(refreshes)} refreshes, slowest round trip {slowest * 1000:.0f} ms"


def refresh_that_fails(stage: Stage) -> None:
    """The session in use goes on when no new one can be made."""
    with Broken(stage, "stale", {"connection_refresh_interval_secs": 1}) as broken:
        with Conversation(broken.echo) as talk:
            talk.say(b"before")
            broken.relay.do("deny")
            broken.source.wait_event("session.refresh_failed")
            talk.say(os.urandom(1_000_000))
            check_equal(broken.source.events("session.down"), [], "sessions that ended")
            broken.relay.do("carry")
            broken.source.wait_event("session.refresh")
            talk.say(os.urandom(1_000_000))
            talk.finish()


# -- the end of streams


def reads_reset(sock: socket.socket, seconds: float) -> float:
    """How long it takes until the connection is reset; anything else fails."""
    started = time.monotonic()
    sock.settimeout(seconds * PATIENCE)
    try:
        check_equal(sock.recv(1), None, "what the client of a lost stream reads")
    except ConnectionResetError:
        pass
    return time.monotonic() - started


def dest_restarts(stage: Stage) -> str:
    """Killed and started again, it knows no tunnel: old streams end at once, new ones work."""
    with Broken(stage, "killed", {}) as broken:
        talk = Conversation(broken.echo)
        talk.say(b"before")
        broken.dest.popen.kill()
        broken.dest.wait()
        broken.source.wait_event("session.down")
        time.sleep(1)
        check_equal(broken.source.events("tunnel.lost"), [], "streams given up too early")
        broken.pair.dest = start("dest", "killed-again", broken.pair.folder, broken.pair.dest_table)
        broken.pair.dest.wait_listening(broken.pair.tunnel_port)
        started = time.monotonic()
        exchange(broken.echo)
        served = time.monotonic() - started
        check(served < 1 * PATIENCE, f"a new connection took {served:.2f} s")
        waited = reads_reset(talk.sock, 1)
        ready(broken.pair.dest)
        return f"served after {served * 1000:.0f} ms, old one reset {waited * 1000:.0f} ms later"


def long_outage(stage: Stage) -> str:
    """Streams wait for stream_resume_timeout_secs at both ends, then they are reset."""
    slow = Slow()
    wait = {"stream_resume_timeout_secs": 1}
    with Broken(stage, "long", wait, wait, extra=slow.port) as broken:
        with socket.create_connection(("127.0.0.1", broken.extra), timeout=20) as sock:
            sock.sendall(b"question")
            wait_until(lambda: slow.got, 5, "the target to read")
            broken.relay.do("refuse")
            waited = reads_reset(sock, 4)
        check(waited > 0.8, f"reset after {waited:.2f} s already")
        slow.thread.join(4 * PATIENCE)
        check(isinstance(slow.error, ConnectionResetError), f"the target saw {slow.error}")
        broken.dest.wait_event("tunnel.lost")
        broken.relay.do("carry")
        exchange(broken.echo)
        return f"reset after {waited:.1f} s"


def breaker_opens(stage: Stage) -> str:
    """More losses than allowed: a pause of max_reconnect_delay_ms, then it goes on."""
    source = {"circuit_breaker_max_restarts": 2, "max_reconnect_delay_ms": 1000}
    with Broken(stage, "breaker", source) as broken:
        with Conversation(broken.echo) as talk:
            for number in range(3):
                talk.say(b"still here")
                ups = broken.ups()
                broken.relay.do("rst")
                started = time.monotonic()
                broken.source.wait_event("session.up", count=ups + 1)
                waited = time.monotonic() - started
                check((waited > 0.9) == (number == 2), f"loss {number + 1}: {waited:.2f} s")
            check_equal(len(broken.source.events("breaker.open")), 1, "times it opened")
            talk.say(b"still here")
            talk.finish()
    return f"paused {waited:.1f} s"


def main() -> int:
    with Suite("recovery") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo, Nginx(suite.folder, suite.ports) as nginx:
            stage = Stage(suite, authority, echo, nginx)
            suite.run(f"{FLOWS} transfers each way across cuts", survives_cuts, stage)
            suite.run("a path that stalls", survives_a_stall, stage)
            suite.run("a half-closed stream and a cut", half_closed_survives, stage)
            suite.run("data and FIN in an outage", fin_in_an_outage, stage)
            suite.run("a client that comes in an outage", late_clients_wait, stage)
            suite.run("a black hole", finds_black_holes, stage)
            suite.run("a refresh every second under load", refreshes_under_load, stage)
            suite.run("a refresh that fails", refresh_that_fails, stage)
            suite.run("a dest that is killed and comes back", dest_restarts, stage)
            suite.run("an outage that is too long", long_outage, stage)
            suite.run("sessions lost too often", breaker_opens, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
