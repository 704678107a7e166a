#!/usr/bin/env python3
"""A dest that is flooded by strangers serves those it knows, in bounded memory, and loses nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import strangers
from harness.echo import Echo, exchange
from harness.process import (
    GROWTH_KIB,
    PATIENCE,
    SANITIZED,
    Missing,
    Process,
    program,
    run,
    wait_until,
)
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import (
    Authority,
    Daemon,
    Identity,
    Pair,
    Service,
    binary,
    merge,
    ready,
    start,
    toml,
)

RATE = 200 if SANITIZED else 2000
SECONDS = 60 if LONG else 5

# The bounds that net/strangers.h and the default configuration promise.
BURST, A_SECOND = 128, 32
IN_FLIGHT = 64

# Of an unauthenticated connection: 64 KiB, and the heap's own rounding.
STRANGER_KIB = 96

# With as large a certificate as is taken (TLS_CERTIFICATES_MAX, 40 KiB) that never comes to its end.
TALKATIVE_KIB = STRANGER_KIB + 40

# What the buffers of the download itself may still grow by; strangers without bounds would take a gigabyte.
DOWNLOAD_KIB = 32 * 1024

# Long form, on a machine with nothing else to do.
SHARE_KEPT = 0.8
RECONNECT_SECONDS = 2.0


class Fountain:
    """A target that sends without end, and a client that counts what comes through the tunnel."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        water = memoryview(bytes(1 << 20))
        while True:
            try:
                sock, _ = self.listener.accept()
                threading.Thread(target=self.pour, args=(sock, water), daemon=True).start()
            except OSError:
                return

    @staticmethod
    def pour(sock: socket.socket, water: memoryview) -> None:
        try:
            while True:
                sock.sendall(water)
        except OSError:
            sock.close()


class Drinker:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30 * PATIENCE)
        self.bytes = 0
        self.error: Exception | None = None
        self.is_over = False
        self.thread = threading.Thread(target=self.drink, daemon=True)
        self.thread.start()

    def drink(self) -> None:
        room = bytearray(1 << 20)
        try:
            while not self.is_over:
                got = self.sock.recv_into(room)
                check(got > 0, "the stream ended")
                self.bytes += got
        except Exception as e:
            self.error = e

    def rate(self, seconds: float) -> float:
        """Megabytes a second, over so many seconds."""
        before, started = self.bytes, time.monotonic()
        time.sleep(seconds)
        return (self.bytes - before) / (time.monotonic() - started) / 1e6

    def close(self) -> None:
        self.is_over = True
        self.thread.join(60)
        self.sock.close()


def handshakes(page: int) -> dict[str, float]:
    """Those that ended at the dest, by result."""
    url = f"http://127.0.0.1:{page}/metrics"
    with urllib.request.urlopen(url, timeout=30 * PATIENCE) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for result, number in re.findall(
        r'^utun_handshakes_total\{.*result="(\w+)".*\} (\S+)$', text, re.M
    ):
        found[result] = found.get(result, 0) + float(number)
    return found


def flood_program() -> Path:
    named = os.environ.get("UTUN_FLOOD")
    path = Path(named) if named else binary().parent / "tests" / "e2e" / "flood"
    if not path.is_file():
        raise Missing(f"{path} does not exist; build it, or name another with UTUN_FLOOD=")
    return path


def start_flood(suite: Suite, port: int, *more: object) -> Process:
    flood = Process("flood", [flood_program(), str(port), *map(str, more)], suite.folder)
    wait_until(lambda: "flooding" in flood.text(), 30, "the flood to begin")
    return flood


def end_flood(flood: Process) -> dict:
    """What it says of itself, with the share of a core that it has had."""
    flood.send_signal(15)
    flood.wait(30 * PATIENCE)
    told = json.loads(flood.text().strip().splitlines()[-1])
    told["share"] = (told["user"] + told["system"]) / told["seconds"]
    return told


def survives(suite: Suite, authority: Authority, echo: Echo) -> str:
    fountain = Fountain()
    water = Service(suite.ports.take(), fountain.port)
    service = Service(suite.ports.take(), echo.port)
    page = suite.ports.take()
    changes = {"metrics": {"enabled": True, "metrics_port": page}}
    with Pair(suite.folder, suite.ports, [water, service], authority, dest_changes=changes) as pair:
        assert pair.dest and pair.source
        drinker = Drinker(water.port)
        drinker.rate(1)
        calm = drinker.rate(SECONDS / 4)
        memory, descriptors = pair.dest.rss_kib(), pair.dest.fd_count()

        flood = start_flood(suite, pair.tunnel_port, RATE)
        began = time.monotonic()
        stormy = drinker.rate(SECONDS / 2)
        middle = pair.dest.rss_kib()
        exchange(service.port, 100_000)
        stormy = (stormy + drinker.rate(SECONDS / 2)) / 2

        # A source that comes back: all its sessions are up again although the flood goes on.
        pair.source.stop()
        drinker.is_over = True
        started = time.monotonic()
        pair.source = ready(start("source", "again", suite.folder, pair.source_table))
        back = time.monotonic() - started
        exchange(service.port, 100_000)

        end, most = pair.dest.rss_kib(), pair.dest.fd_count()
        flooded = time.monotonic() - began
        ended = handshakes(page)
        told = end_flood(flood)
        failed = sum(n for result, n in ended.items() if result != "ok")

        check(pair.dest.is_running(), "the dest ended")
        check(told["tls_done"] > 0 and failed > 0, f"there was no flood: {told}, {ended}")
        bound = BURST + A_SECOND * (flooded + 1)
        check(
            failed <= bound,
            f"{failed:.0f} strangers were served in {flooded:.0f} s, not {bound:.0f}",
        )
        bound = descriptors + IN_FLIGHT + 16
        check(most <= bound, f"{most} descriptors, not {bound}")
        bound = memory + IN_FLIGHT * STRANGER_KIB + DOWNLOAD_KIB + GROWTH_KIB
        if not SANITIZED:  # which keeps what was freed
            check(max(middle, end) <= bound, f"{middle}, {end} KiB of memory, not {bound}")
        exchange(service.port, 100_000)

        # The machine may be another than it was a minute ago: calm is the mean of before and after.
        drinker = Drinker(water.port)
        drinker.rate(1)
        calm = (calm + drinker.rate(SECONDS / 4)) / 2
        rate = told["opened"] / told["seconds"]
        note = (
            f"{rate:.0f}/s with {told['share']:.0%} of a core, "
            f"{failed:.0f} served in {flooded:.0f} s; {calm:.0f} to {stormy:.0f} MB/s; "
            f"{memory} to {middle}, {end} KiB; back after {back:.2f} s"
        )
        if LONG and not SANITIZED:
            note += f"; {door(suite, drinker)}"
            check(end <= middle + GROWTH_KIB, f"memory grew from {middle} to {end} KiB")
            check(rate >= 0.95 * RATE and stormy >= SHARE_KEPT * calm, note)
            check(back <= RECONNECT_SECONDS, note)
        drinker.close()
        return note


def door(suite: Suite, drinker: Drinker) -> str:
    """What the same flood takes when who stands there does nothing but accept and close."""
    server = Process("door", [flood_program(), "door"], suite.folder)
    wait_until(lambda: "port" in server.text(), 30, "the door to open")
    calm = drinker.rate(SECONDS / 4)
    flood = start_flood(suite, int(server.text().split()[1]), RATE)
    stormy = drinker.rate(SECONDS / 4)
    end_flood(flood)
    server.stop()
    return f"a bare door's {calm:.0f} to {stormy:.0f} MB/s"


def stranger_memory(suite: Suite, authority: Authority, echo: Echo) -> str:
    """What one connection costs that stops where its certificate is awaited."""
    count = 40
    service = Service(suite.ports.take(), echo.port)
    with Pair(suite.folder, suite.ports, [service], authority, name="memory") as pair:
        assert pair.dest
        before = pair.dest.rss_kib()
        flood = start_flood(suite, pair.tunnel_port, 1000, "hello", count)
        wait_until(lambda: "answered" in flood.text(), 9, "the dest's words to all")
        each = (pair.dest.rss_kib() - before) / count
        end_flood(flood)
        if not SANITIZED:
            check(each <= STRANGER_KIB, f"{each:.0f} KiB each")
        exchange(service.port)
        return f"{each:.0f} KiB each"


def large_certificate(suite: Suite) -> Identity:
    """Nobody's, of 38 KB in 1,500 names: as much as can be had for few bytes once it is parsed."""
    made = Identity(suite.folder / "large.crt", suite.folder / "large.key")
    names = ",".join(f"DNS:host-{number:06}.example.net" for number in range(1500))
    config = suite.folder / "large.cnf"
    config.write_text(
        "[req]\ndistinguished_name=name\nx509_extensions=more\nprompt=no\n[name]\nCN=stranger\n"
        f"[more]\nsubjectAltName={names}\n"
    )
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", made.key, "-out", made.cert]
    run([program("openssl"), "req", "-x509", *kind, "-config", config, *files])
    return made


def talkative_memory(suite: Suite, echo: Echo) -> str:
    """The same of one that shows a large certificate: before its end, and while it hears that it is refused."""
    count = 20
    authority = Authority(suite.folder, "p256", algorithm="ecdsa-p256")
    service = Service(suite.ports.take(), echo.port)
    page = suite.ports.take()
    mode = {"crypto": {"kem_mode": "mceliece460896"}}
    metrics = {"metrics": {"enabled": True, "metrics_port": page}}
    with Pair(
        suite.folder,
        suite.ports,
        [service],
        authority,
        name="talkative",
        source_changes=mode,
        dest_changes=merge(mode, metrics),
    ) as pair:
        assert pair.dest
        tls = strangers.context(authority.ca.cert, large_certificate(suite))
        each = []
        # Without 400 bytes nothing of it can be judged; without 20 it is judged, and refused.
        for left_out, most in ((400, TALKATIVE_KIB), (20, STRANGER_KIB)):
            before = pair.dest.rss_kib()
            kept = [
                strangers.shake_hands_but(pair.tunnel_port, tls, left_out) for _ in range(count)
            ]
            refused = "handshake.refused"
            check_equal(pair.dest.events(refused), [], "strangers that were not let in")
            if left_out == 20:
                wait_until(
                    lambda: handshakes(page).get("cert_untrusted") == count, 9, "all to be refused"
                )
            each.append((pair.dest.rss_kib() - before) / count)
            if not SANITIZED:
                check(each[-1] <= most, f"without {left_out} bytes: {each[-1]:.0f} KiB each")
            for sock in kept:
                sock.close()
        exchange(service.port)
        return f"{each[0]:.0f} KiB each, {each[1]:.0f} more once refused"


def descriptors_run_out(suite: Suite, authority: Authority, echo: Echo) -> str:
    """A dest without a descriptor left goes on, and accepts again when there are some."""
    service = Service(suite.ports.take(), echo.port)
    pair = Pair(suite.folder, suite.ports, [service], authority, name="few")
    config = suite.folder / "few.toml"
    config.write_text(toml(pair.dest_table))
    argv = [binary(), "dest", "--config", config, "--log-format", "json"]
    with Daemon("roomy", argv, suite.folder) as dest:
        dest.wait_event("dest.ready")
        used = max(int(name) for name in os.listdir(f"/proc/{dest.pid}/fd"))
    limit = f"--nofile={used + 8}:{used + 8}"
    with Daemon("tight", ["prlimit", limit, *argv], suite.folder) as dest:
        dest.wait_event("dest.ready")
        kept = [strangers.connect(pair.tunnel_port) for _ in range(30)]
        dest.wait_event("listener.trouble")
        check(dest.is_running(), "the dest ended")
        for sock in kept:
            sock.close()
        with ready(start("source", "few-source", suite.folder, pair.source_table)):
            exchange(service.port)
    return f"with {used + 8} of them"


def main() -> int:
    with Suite("flood") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            suite.run("2,000 strangers a second", survives, suite, authority, echo)
            suite.run("memory of a stranger", stranger_memory, suite, authority, echo)
            suite.run("memory of a stranger that shows much", talkative_memory, suite, echo)
            suite.run("descriptors run out", descriptors_run_out, suite, authority, echo)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
