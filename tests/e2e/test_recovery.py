#!/usr/bin/env python3
"""Sessions die, streams live: cuts, black holes, refreshes and restarts that no client notices."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from dataclasses import replace

from harness import memcheck
from harness.broken import DETECTION, HEARTBEAT, Broken, Stage
from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, wait_until
from harness.servers import Nginx
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, ready, source_config, start

# How many each process has, apart from the cases that always have two.
WORKERS = int(os.environ.get("UTUN_TEST_WORKERS", "1"))

# -- cuts


def survives_a_stall(stage: Stage) -> None:
    """A path that stops for less than the heartbeat's patience costs nothing at all."""
    with Broken(stage, "stall") as broken:
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
    with Broken(stage, "half", extra=slow.port) as broken:
        with socket.create_connection(("127.0.0.1", broken.extra), timeout=20 * PATIENCE) as sock:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            check(slow.finished.wait(5 * PATIENCE), "the FIN did not arrive")
            ups = broken.ups()
            broken.relay.do("rst")
            broken.wait_ups(ups)
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
    with Broken(stage, "late", extra=slow.port) as broken:
        with socket.create_connection(("127.0.0.1", broken.extra), timeout=20 * PATIENCE) as sock:
            sock.sendall(b"one ")
            broken.relay.do("refuse")
            broken.wait_downs()
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
    with Broken(stage, "outage") as broken:
        broken.relay.do("refuse")
        broken.wait_downs()
        with Conversation(broken.echo) as talk:
            threading.Timer(0.5, broken.relay.do, ("carry",)).start()
            started = time.monotonic()
            talk.say(os.urandom(100_000))
            talk.finish()
        return f"served after {(time.monotonic() - started) * 1000:.0f} ms"


# -- the heartbeat


def finds_black_holes(stage: Stage) -> str:
    """Within interval + timeout x missed the source gives a silent session up; streams go on."""
    slowest = 0.0
    with Broken(stage, "hole", HEARTBEAT) as broken:
        with Conversation(broken.echo) as talk:
            for number in range(3):
                talk.say(os.urandom(500_000))
                ups = broken.ups()
                broken.relay.do("blackhole")
                started = time.monotonic()
                broken.wait_downs(number + 1, reason="heartbeat")
                slowest = max(slowest, time.monotonic() - started)
                broken.wait_ups(ups)
                talk.say(os.urandom(500_000))
            # An idle session whose peer answers stays.
            ups = broken.ups()
            time.sleep(3 * DETECTION)
            check_equal(broken.ups(), ups, "sessions of an idle tunnel")
            talk.finish()
        check(slowest <= DETECTION + 0.25 * PATIENCE, f"found after {slowest:.2f} s")
        broken.check_resumed(3)
    return f"at most {slowest * 1000:.0f} ms, bound {DETECTION * 1000:.0f} ms"


# -- refresh


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
    with Broken(stage, "killed") as broken:
        talk = Conversation(broken.echo)
        talk.say(b"before")
        broken.dest.popen.kill()
        broken.dest.wait()
        broken.wait_downs()
        time.sleep(1)
        check_equal(broken.source.events("tunnel.lost"), [], "streams given up too early")
        name = f"killed-again-{broken.workers}"
        broken.pair.dest = start("dest", name, broken.pair.folder, broken.pair.dest_table)
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


def late_session(stage: Stage) -> None:
    """A session that is on its way when the time is over still carries the streams on."""
    seconds = round(2 * PATIENCE)
    wait = {"stream_resume_timeout_secs": seconds}
    with Broken(stage, "on-its-way", dest=wait, crypto={"kem_mode": "mlkem768"}) as broken:
        with Conversation(broken.echo) as talk:
            talk.say(b"before")
            ups = broken.ups()
            broken.relay.do("late")
            broken.relay.do("rst")
            broken.wait_downs()
            time.sleep(seconds + 1)
            check_equal(broken.ups(), ups, "sessions before their time")
            check_equal(broken.dest.events("tunnel.lost"), [], "what was given up")
            broken.relay.do("go")
            broken.wait_ups(ups)
            talk.say(b"after")
            # If it comes to nothing, that is the end.
            broken.relay.do("late")
            broken.relay.do("rst")
            time.sleep(seconds + 1)
            broken.relay.do("refuse")
            broken.dest.wait_event("tunnel.lost")
            broken.relay.do("go")
            broken.relay.do("carry")
        exchange(broken.echo)


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
                broken.wait_ups(ups)
                waited = time.monotonic() - started
                opened = len(broken.source.events("breaker.open"))
                is_last = number == 2
                check_equal(opened, broken.workers if is_last else 0, "times a breaker opened")
                if is_last or not memcheck.ON:  # where a handshake alone takes seconds
                    check((waited > 0.9) == is_last, f"loss {number + 1}: {waited:.2f} s")
            talk.say(b"still here")
            talk.finish()
    return f"paused {waited:.1f} s"


def most_workers(stage: Stage) -> None:
    """A source with 64 starts, although there is no dest that it could reach."""
    ports = stage.suite.ports
    most = {"source": {"workers": 64}}
    table = source_config(ports.take(), [ports.take()], stage.authority, most)
    with start("source", "most", stage.suite.folder, table) as source:
        source.wait_event("source.ready")


def main() -> int:
    with Suite("recovery") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo, Nginx(suite.folder, suite.ports) as nginx:
            stage = Stage(suite, authority, echo, nginx, WORKERS)
            two = replace(stage, workers=2)
            suite.run("a path that stalls", survives_a_stall, stage)
            suite.run("a half-closed stream and a cut", half_closed_survives, stage)
            suite.run("data and FIN in an outage", fin_in_an_outage, stage)
            suite.run("a client that comes in an outage", late_clients_wait, stage)
            suite.run("a black hole", finds_black_holes, stage)
            suite.run("a refresh that fails", refresh_that_fails, stage)
            suite.run("a dest that is killed and comes back", dest_restarts, stage)
            suite.run("an outage that is too long", long_outage, stage)
            suite.run("a session that comes late", late_session, stage)
            suite.run("sessions lost too often", breaker_opens, stage)
            if WORKERS != 2:
                suite.run("a half-closed stream and a cut, 2 workers", half_closed_survives, two)
                suite.run("a black hole, 2 workers", finds_black_holes, two)
                suite.run("a dest that is killed, 2 workers", dest_restarts, two)
            suite.run("as many workers as there can be", most_workers, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
