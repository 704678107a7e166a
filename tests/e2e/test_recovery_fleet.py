#!/usr/bin/env python3
"""Many sources at one dest, all of which lose it, or begin, at the same moment."""

from __future__ import annotations

import signal
import sys
import threading
import time

from harness.echo import Echo, Pulse, exchange
from harness.process import PATIENCE, SANITIZED, Process
from harness.suite import Suite, check
from harness.utun import Authority, Service, dest_config, ready, source_config, start

# A key pair for McEliece costs a source 35 ms of CPU. Two hundred sources that share two cores would
# be busy with that for longer than all else takes, so in hybrid mode the fleet is smaller.
FLEETS = {"mlkem768": 20 if SANITIZED else 200, "hybrid": 5 if SANITIZED else 30}

BOUND = 10  # seconds until all are back


class Load:
    """How busy a process is, looked at ten times a second from another thread."""

    PERIOD = 0.1
    FULL = 0.9  # of one core

    def __init__(self, process: Process) -> None:
        self.process = process
        self.shares: list[float] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self) -> None:
        used, at = self.process.cpu_seconds(), time.monotonic()
        while not self.over.wait(self.PERIOD):
            used_now, now = self.process.cpu_seconds(), time.monotonic()
            self.shares.append((used_now - used) / (now - at))
            used, at = used_now, now

    def longest(self) -> float:
        """Seconds of the longest time in which it used a whole core."""
        longest = run = 0
        for share in self.shares:
            run = run + 1 if share >= self.FULL else 0
            longest = max(longest, run)
        return longest * self.PERIOD

    def __enter__(self) -> Load:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


class Fleet:
    """Sources on addresses of their own and the dest, with the product's own settings but one: here
    they all come from one address, as from behind one router, and the dest is told to expect that.
    """

    def __init__(self, suite: Suite, authority: Authority, echo: Echo, kem_mode: str) -> None:
        self.folder = suite.folder
        self.size = FLEETS[kem_mode]
        self.kem_mode = kem_mode
        self.port = suite.ports.take()
        self.tunnel_port = suite.ports.take()
        crypto = {"crypto": {"kem_mode": kem_mode}}
        limit = {"dest": {"handshake_rate_limit": 4 * self.size}}
        services = [Service(self.port, echo.port)]
        self.dest_table = dest_config(self.tunnel_port, services, authority, crypto | limit)
        pace = {"initial_reconnect_delay_ms": None, "max_reconnect_delay_ms": None}
        self.source_table = source_config(
            self.tunnel_port, [self.port], authority, crypto | {"source": pace}
        )
        self.dest: Process | None = None
        self.sources: list[Process] = []
        self.starts = 0

    def address(self, number: int) -> str:
        return f"127.1.{number // 200}.{1 + number % 200}"

    def start_dest(self) -> Process:
        self.starts += 1
        name = f"{self.kem_mode}-dest-{self.starts}"
        self.dest = start("dest", name, self.folder, self.dest_table)
        return self.dest

    def start_source(self, number: int) -> Process:
        self.starts += 1
        table = {**self.source_table}
        table["source"] = table["source"] | {"listen_ip": self.address(number)}
        return start("source", f"{self.kem_mode}-{number}-{self.starts}", self.folder, table)

    def ups(self) -> int:
        """Sessions that the dest has had."""
        assert self.dest
        return len(self.dest.events("session.up"))

    def wait_ups(self, seconds: float, before: int = 0) -> None:
        """Until the dest has had one more for each source than before."""
        assert self.dest
        self.dest.wait_event("session.up", count=before + self.size, seconds=seconds)

    def start_sources(self) -> None:
        self.sources = [self.start_source(number) for number in range(self.size)]

    def kill_sources(self) -> None:
        for source in self.sources:
            source.popen.kill()
        for source in self.sources:
            source.wait()

    def __enter__(self) -> Fleet:
        ready(self.start_dest())
        self.start_sources()
        self.wait_ups(120)
        return self

    def __exit__(self, *_: object) -> None:
        processes = [*self.sources, *([self.dest] if self.dest else [])]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.stop()

    def check_service(self) -> None:
        """Every source's clients are served."""
        for number in range(self.size):
            exchange(self.port, 1000, self.address(number))


def judge(fleet: Fleet, load: Load, what: str, seconds: float, bound: float) -> str:
    """That all were back in time, and that the dest was not busy for longer than that."""
    after = sum(load.shares[-10:]) / 10
    told = f"all {fleet.size} back {seconds:.1f} s after {what}; "
    told += f"the dest had a whole core busy for {load.longest():.1f} s at most"
    check(seconds <= bound, told)
    check(load.longest() <= BOUND, told)
    check(after < 0.5, f"it still uses {after:.2f} cores when all are back; {told}")
    return told


def dest_restarts(fleet: Fleet) -> str:
    """The dest is killed and started again: the sources come back, each in its own time."""
    assert fleet.dest
    fleet.dest.popen.kill()
    fleet.dest.wait()
    dest = fleet.start_dest()
    with Load(dest) as load:
        dest.wait_listening(fleet.tunnel_port)
        started = time.monotonic()
        fleet.wait_ups(60)
        seconds = time.monotonic() - started
        time.sleep(2)
    fleet.check_service()
    return judge(fleet, load, "it listens", seconds, BOUND * PATIENCE)


def sources_restart(fleet: Fleet) -> str:
    """All sources are killed and started again at once. One that was not meanwhile goes on."""
    assert fleet.dest
    calm = fleet.start_source(fleet.size)
    ready(calm)
    with calm, Pulse(fleet.port, host=fleet.address(fleet.size)) as pulse:
        fleet.kill_sources()
        pulse.take_slowest()
        before = fleet.ups()
        with Load(fleet.dest) as load:
            started = time.monotonic()
            fleet.start_sources()
            fleet.wait_ups(60, before)
            seconds = time.monotonic() - started
            time.sleep(2)
        slowest = pulse.slowest()
        fleet.check_service()
    # Twice the time: the same two cores start all of these processes.
    told = judge(fleet, load, "their start", seconds, 2 * BOUND * PATIENCE)
    check(slowest < 1 * PATIENCE, f"an answer took {slowest:.2f} s; {told}")
    return f"{told}; slowest answer to another's client {slowest * 1000:.0f} ms"


def main() -> int:
    with Suite("recovery of a fleet") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            for kem_mode, size in FLEETS.items():
                fleet = f"{size} sources, {kem_mode}"
                with Fleet(suite, authority, echo, kem_mode) as all_of_them:
                    suite.run(f"{fleet}: the dest restarts", dest_restarts, all_of_them)
                    suite.run(f"{fleet}: they all restart", sources_restart, all_of_them)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
