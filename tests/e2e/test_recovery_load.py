#!/usr/bin/env python3
"""What clients see of many cuts, refreshes and rotations: nothing but, at times, a short pause."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace

from harness.broken import DETECTION, HEARTBEAT, Broken, Stage, Transfers
from harness.database import Pgbench
from harness.echo import Echo, Pulse
from harness.process import PATIENCE, SANITIZED, program
from harness.servers import Nginx, Postgres
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority

WORKERS = int(os.environ.get("UTUN_TEST_WORKERS", "1"))

FLOWS = 8 if LONG or not SANITIZED else 2  # downloads, and as many uploads
EACH = 200 if LONG else 16 if SANITIZED else 200  # MiB of one
RATE = "2M" if SANITIZED else "10M"  # of one, so that there is time for the cuts
CUTS = 20 if LONG or not SANITIZED else 8

# Seconds from when a loss is known until data flows again, and of the longest answer when nothing
# is lost. How long a process waits for a core is the machine's doing: an answer through the tunnel
# takes three times as many processes as one without, which is measured at the same time.
RECONNECT = 0.5
PAUSE = 0.1
HOPS = 3


class Pace:
    """After how many seconds a session is replaced, and keys are: before twice that they expire."""

    def __init__(self, refresh: int, keys: int) -> None:
        self.name = f"{refresh}-{keys}"
        self.source = {"connection_refresh_interval_secs": refresh}
        self.crypto = {
            "key_rotation_interval_seconds": 2 * keys,
            "rehandshake_before_expiry_seconds": keys,
        }
        # A second. With its session the age of the keys begins anew.
        self.refreshes = 1 / refresh if refresh else 0.0
        self.rotations = (refresh - 1) // keys / refresh if refresh else 1 / keys


class Storm:
    """Cuts of all kinds, one after another, with stalls in between."""

    KINDS = ("fin", "rst", "fin", "rst", "blackhole")

    def __init__(self, broken: Broken, seed: int = 1) -> None:
        self.broken = broken
        self.dice = random.Random(seed)
        self.cuts = 0

    def blow(self) -> None:
        """One cut after a while; returns when every tunnel has its next session."""
        time.sleep(self.dice.uniform(0.05, 0.5))
        if self.dice.random() < 0.3:
            self.broken.relay.do("stall")
            time.sleep(0.1)
            if self.dice.random() < 0.5:
                self.broken.relay.do("go")
        before = self.broken.ups()
        if self.broken.relay.do(self.KINDS[self.cuts % len(self.KINDS)]) > 0:
            self.cuts += 1
        self.broken.wait_ups(before)


def transfers_survive(stage: Stage, each: int, wanted: int, pace: Pace) -> str:
    """Transfers of so many MiB across so many cuts or more: every byte arrives once."""
    name = f"cuts-{pace.name}"
    with Broken(stage, name, HEARTBEAT | pace.source, crypto=pace.crypto) as broken:
        transfers = Transfers(stage, broken.files, name, FLOWS, each, RATE)
        storm = Storm(broken)
        started = time.monotonic()
        try:
            while transfers.are_running() and storm.cuts < 5 * wanted:
                storm.blow()
            transfers.check()
        finally:
            transfers.kill()
        seconds = time.monotonic() - started
        check(storm.cuts >= wanted, f"only {storm.cuts} cuts came before the end; lower RATE")
        broken.check_resumed(storm.cuts)
        refreshes, rotations = (
            len(broken.source.events(event)) for event in ("session.refresh", "session.rotated")
        )
        return (
            f"{storm.cuts} cuts, {refreshes} refreshes, {rotations} rotations "
            f"in {2 * FLOWS} x {each} MiB in {seconds:.0f} s; "
            f"median pause {broken.median_pause():.0f} ms"
        )


def database_survives(stage: Stage) -> str:
    """Not one transaction of pgbench fails."""
    with Postgres(stage.suite.folder, stage.suite.ports) as postgres:
        with Broken(stage, "database", HEARTBEAT, extra=postgres.port) as broken:
            bench = Pgbench(postgres, broken.extra)
            bench.prepare()
            storm = Storm(broken, seed=2)
            bench.start("-T", 60 if LONG else 10)
            try:
                while bench.is_running():
                    storm.blow()
                rate = bench.finish()
            finally:
                bench.kill()
            check(storm.cuts >= (10 if not SANITIZED else 4), f"only {storm.cuts} cuts")
            broken.check_resumed(storm.cuts)
            return f"{storm.cuts} cuts, {rate:.0f} transactions/s"


def echo_survives(stage: Stage) -> str:
    """Who types waits for no answer longer than the loss takes to be seen, and to be mended."""
    slowest = {"fin": 0.0, "rst": 0.0, "blackhole": 0.0}
    detection = {"fin": 0.0, "rst": 0.0, "blackhole": DETECTION}
    with Broken(stage, "typing", HEARTBEAT) as broken:
        with Pulse(broken.echo) as pulse, Pulse(stage.echo.port) as direct:
            for number in range(60 if LONG else 12):
                kind = list(slowest)[number % len(slowest)]
                time.sleep(0.6)  # for key pairs to be ready again, on a busy machine, too
                pulse.take_slowest()
                before = broken.ups()
                broken.relay.do(kind)
                broken.wait_ups(before)
                time.sleep(0.1)
                slowest[kind] = max(slowest[kind], pulse.take_slowest())
        broken.check_resumed(12)
    for kind, waited in slowest.items():
        bound = detection[kind] + RECONNECT * PATIENCE + HOPS * direct.slowest()
        check(waited <= bound, f"{waited:.2f} s after {kind}; the bound is {bound:.2f} s")
    told = ", ".join(f"{kind} {waited * 1000:.0f} ms" for kind, waited in slowest.items())
    return f"the longest waits: {told}"


class Bulk:
    """As much as goes through, down and up, until it is told to end."""

    def __init__(self, stage: Stage, port: int) -> None:
        big = stage.nginx.files / "bulk"
        with open(big, "wb") as file:
            file.truncate(64 << 20)
        url = f"http://127.0.0.1:{port}"
        curl = [program("curl"), "-sS", "--fail"]
        commands = [
            [*curl, "-o", "/dev/null", f"{url}/bulk?[1-100000]"],
            [*curl, "-T", str(big), f"{url}/bulk-up?[1-100000]"],
        ]
        self.curls = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for argv in commands]

    def check(self) -> None:
        statuses = [curl.poll() for curl in self.curls]
        check_equal(statuses, [None] * len(statuses), "exit statuses of clients with bulk")

    def __enter__(self) -> Bulk:
        return self

    def __exit__(self, *_: object) -> None:
        for curl in self.curls:
            curl.kill()
            curl.wait()


PACES = {
    "a new session every second": Pace(refresh=1, keys=2),
    "new keys every two seconds": Pace(refresh=0, keys=2),
    "new keys after two seconds, a new session after three": Pace(refresh=3, keys=2),
}


def new_keys_under_load(stage: Stage, pace: Pace) -> str:
    """With as much going through as can, new sessions and keys delay no answer beyond 100 ms."""
    seconds = 30 if LONG else 8
    name = f"keys-{pace.name}"
    broken = Broken(stage, name, pace.source, crypto=pace.crypto)
    broken.bypass()
    with broken:
        with Pulse(broken.echo) as pulse, Pulse(stage.echo.port) as direct:
            transfers = Transfers(stage, broken.files, name, 1, 4 * seconds, "4M")
            try:
                with Bulk(stage, broken.files) as bulk:
                    while transfers.are_running():
                        time.sleep(0.1)
                    bulk.check()
                transfers.check()
            finally:
                transfers.kill()
            slowest, without = pulse.slowest(), direct.slowest()
        refreshes = broken.source.events("session.refresh")
        rotations = [process.events("session.rotated") for process in (broken.source, broken.dest)]
        check_equal([e["resumed"] for e in refreshes], [True] * len(refreshes), "resumed")
        broken.check_resumed(0)
        for process in (broken.source, broken.dest):
            reasons = {e["reason"] for e in process.events("session.down")}
            check(reasons <= {"superseded"}, f"sessions ended at {process.name}: {reasons}")
        late = len(broken.source.events("session.rotation_late"))
        told = (
            f"{len(refreshes)} refreshes, {len(rotations[0])} rotations, {late} late; slowest "
            f"answer {slowest * 1000:.0f} ms, {without * 1000:.0f} ms without a tunnel"
        )
        # The first is one period late, and a busy machine takes some time from each.
        for rate, count in (
            (pace.refreshes, len(refreshes)),
            (pace.rotations, len(rotations[0])),
            (pace.rotations, len(rotations[1])),
        ):
            check(count >= 0.6 * rate * seconds * broken.workers, f"too few: {told}")
        check(slowest <= PAUSE * PATIENCE + HOPS * without, told)
        return told


def main() -> int:
    with Suite("recovery under load") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo, Nginx(suite.folder, suite.ports) as nginx:
            stage = Stage(suite, authority, echo, nginx, WORKERS)
            two = replace(stage, workers=2)
            transfers = f"{FLOWS} transfers each way across cuts"
            suite.run(transfers, transfers_survive, stage, EACH, CUTS, Pace(0, 1800))
            all_at_once = (two, min(EACH, 80), CUTS // 3, Pace(refresh=1, keys=1))
            suite.run(f"{transfers}, refreshes and rotations", transfers_survive, *all_at_once)
            if WORKERS != 2:
                suite.run("somebody who types, across cuts, 2 workers", echo_survives, two)
            suite.run("pgbench across cuts", database_survives, stage)
            suite.run("somebody who types, across cuts", echo_survives, stage)
            for name, pace in PACES.items():
                suite.run(f"{name}, under full load", new_keys_under_load, stage, pace)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
