#!/usr/bin/env python3
"""The log under load: a pipe that nobody reads, a full disk and the journal; and what stands in it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.echo import Echo, exchange
from harness.process import PATIENCE, wait_until
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, Daemon, Service, binary, dest_config, merge, source_config, toml

THREADS = 4
CONNECTIONS = 8_000 if LONG else 1_000
BULK = 200_000_000 if LONG else 20_000_000
# A log that cannot be written must not show; the machine may be doing other things besides.
SLOWER_AT_MOST = 4.0
SLACK_SECS = 15 * PATIENCE

EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
LEVELS = ("debug", "info", "warn", "error")


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo


class Logged:
    """A pair that logs all it can, both ends to descriptors of the test's choice."""

    def __init__(self, stage: Stage, name: str, form: str = "json") -> None:
        suite = stage.suite
        self.stage = stage
        self.name = name
        self.tunnel_port = suite.ports.take()
        self.metrics_port = suite.ports.take()
        service = Service(suite.ports.take(), stage.echo.port)
        self.port = service.port
        self.form = form
        on = {"metrics": {"enabled": True, "metrics_port": self.metrics_port}}
        self.dest_table = dest_config(self.tunnel_port, [service], stage.authority, on)
        self.source_table = source_config(self.tunnel_port, [service], stage.authority)
        self.daemons: list[Daemon] = []

    def start(self, role: str, table: dict, stderr: int | None, env: dict | None = None) -> Daemon:
        folder = self.stage.suite.folder
        path = folder / f"{self.name}-{role}.toml"
        path.write_text(toml(table))
        argv = [binary(), role, "--config", path, "--log-level", "debug", "--log-format", self.form]
        daemon = Daemon(f"{self.name}-{role}", argv, folder, stderr=stderr, env=env)
        self.daemons.append(daemon)
        return daemon

    @contextmanager
    def running(self, stderr: int | None = None, env: dict | None = None) -> Iterator[Logged]:
        dest = self.start("dest", self.dest_table, stderr, env)
        dest.wait_listening(self.tunnel_port)
        source = self.start("source", self.source_table, stderr, env)
        source.wait_listening(self.port)
        try:
            yield self
            for daemon in (source, dest):
                began = time.monotonic()
                check_equal(daemon.stop(signal.SIGTERM, seconds=20), 0, f"status of {daemon.name}")
                took = time.monotonic() - began
                check(took < 12 * PATIENCE, f"{daemon.name} took {took:.0f} s to end")
        finally:
            for daemon in (source, dest):
                daemon.stop(signal.SIGKILL)

    def dropped(self) -> int:
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            text = reply.read().decode()
        return int(float(re.search(r"^utun_log_lines_dropped_total (\S+)$", text, re.M)[1]))


def load(port: int) -> float:
    """Seconds for many short connections, each with a line in the dest's log, and a bulk transfer."""
    errors: list[BaseException] = []

    def some() -> None:
        try:
            for _ in range(CONNECTIONS // THREADS):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                    sock.sendall(b"x" * 100)
                    sock.shutdown(socket.SHUT_WR)
                    got = b""
                    while piece := sock.recv(4096):
                        got += piece
                    check_equal(len(got), 100, "bytes echoed")
                    # The port is free again at once.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except BaseException as e:
            errors.append(e)

    began = time.monotonic()
    threads = [threading.Thread(target=some) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    exchange(port, BULK)
    return time.monotonic() - began


class Baseline:
    """How long the load takes when the log goes to a file."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.lines: list[str] = []

    def measure(self, stage: Stage) -> str:
        logged = Logged(stage, "file")
        with logged.running():
            self.seconds = load(logged.port)
            check_equal(logged.dropped(), 0, "lines dropped")
        for daemon in logged.daemons:
            self.lines += daemon.err_path.read_text().splitlines()
        streams = sum('"event":"audit.stream"' in line for line in self.lines)
        check(streams >= CONNECTIONS, f"only {streams} lines about {CONNECTIONS} connections")
        return f"{self.seconds:.1f} s, {len(self.lines)} lines"

    def compare(self, seconds: float) -> str:
        limit = self.seconds * SLOWER_AT_MOST + SLACK_SECS
        check(seconds < limit, f"{seconds:.1f} s instead of {self.seconds:.1f} s")
        return f"{seconds:.1f} s, to a file {self.seconds:.1f} s"


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more until somebody reads: where to read, where to write."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"#" * 4095 + b"\n")
    except BlockingIOError:
        os.set_blocking(write_end, True)
    return read_end, write_end


def stalled_pipe(stage: Stage, baseline: Baseline) -> str:
    """The pipe is full before utun starts, and read only when the load is over."""
    read_end, write_end = full_pipe()
    logged = Logged(stage, "stalled")
    got = bytearray()
    with logged.running(stderr=write_end):
        note = baseline.compare(load(logged.port))
        # A queue of 1 MiB holds what one load says; more makes it overflow.
        rounds = 0
        while logged.dropped() == 0:
            check(rounds < 50, "no line was dropped though nobody reads")
            load(logged.port)
            rounds += 1
        dropped = logged.dropped()
        check(os.get_blocking(write_end), "the descriptor that others share was changed")

        def drain() -> None:
            while piece := os.read(read_end, 65536):
                got.extend(piece)

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        wait_until(lambda: b'"event":"log.dropped"' in got, 20, "log.dropped in the log")
        exchange(logged.port)
    os.close(write_end)
    reader.join(10)
    reports = [json.loads(line) for line in got.splitlines() if b'"event":"log.dropped"' in line]
    told = sum(report["lines"] for report in reports)
    check(told >= dropped, f"the log speaks of {told} lines, the metric of {dropped}")
    check(b'"event":"shutdown.done"' in got, "the last line did not come")
    os.close(read_end)
    return f"{note}; {dropped} lines dropped"


def nobody_ever_reads(stage: Stage) -> str:
    """The end does not wait for good either."""
    read_end, write_end = full_pipe()
    began = time.monotonic()
    logged = Logged(stage, "unread")
    with logged.running(stderr=write_end):
        exchange(logged.port)
        began = time.monotonic()
    took = time.monotonic() - began
    os.close(read_end)
    os.close(write_end)
    return f"both ended after {took:.1f} s"


def full_disk(stage: Stage, baseline: Baseline) -> str:
    full = os.open("/dev/full", os.O_WRONLY)
    logged = Logged(stage, "full")
    with logged.running(stderr=full):
        note = baseline.compare(load(logged.port))
        wait_until(lambda: logged.dropped() >= CONNECTIONS, 10, "dropped lines in the metrics")
        dropped = logged.dropped()
    os.close(full)
    return f"{note}; {dropped} lines dropped"


def journal(stage: Stage) -> None:
    """Its stream is a socket that JOURNAL_STREAM names; it takes priorities from "<N>"."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    status = os.fstat(theirs.fileno())
    env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    logged = Logged(stage, "journal", form="plain")
    with logged.running(stderr=theirs.fileno(), env=env):
        exchange(logged.port)
    theirs.close()
    text = b""
    while piece := ours.recv(65536):
        text += piece
    ours.close()
    lines = text.decode().splitlines()
    check(len(lines) > 10, "too few lines")
    priority = {"debug": "<7>", "info": "<6>", "warn": "<4>", "error": "<3>"}
    for line in lines:
        match = re.match(r"(<\d>)\S+ (\w+) +[a-z_]+\.[a-z_]+", line)
        check(match and match[1] == priority[match[2]], f"no such line: {line}")


def every_line_is_an_event(baseline: Baseline) -> str:
    names = set()
    for line in baseline.lines:
        event = json.loads(line)
        check(list(event)[:3] == ["ts", "level", "event"], f"it begins otherwise: {line}")
        check(event["level"] in LEVELS and EVENT.fullmatch(event["event"]), f"no such event: {line}")
        check(all(re.fullmatch("[a-z_]+", key) for key in event), f"no such field: {line}")
        names.add(event["event"])
    return f"{len(names)} different ones"


def nothing_secret(stage: Stage, baseline: Baseline) -> None:
    """No piece of a key, in any of the forms in which one might be printed."""
    text = "\n".join(baseline.lines).lower()
    keys = list(stage.authority.folder.glob("*.key"))
    check(len(keys) >= 3, "no keys to look for")
    for key in keys:
        body = "".join(line for line in key.read_text().splitlines() if "-----" not in line)
        raw = base64.b64decode(body)
        for at in range(0, len(raw) - 12, 60):
            piece = raw[at : at + 12]
            for form in (piece.hex(), base64.b64encode(piece).decode()):
                check(form.lower() not in text, f"a piece of {key.name} is in the log")


def main() -> int:
    with Suite("logs") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            baseline = Baseline()
            suite.run("to a file", baseline.measure, stage)
            suite.run("every line is an event", every_line_is_an_event, baseline)
            suite.run("nothing secret stands in it", nothing_secret, stage, baseline)
            suite.run("to a pipe that nobody reads for a while", stalled_pipe, stage, baseline)
            suite.run("to a pipe that nobody ever reads", nobody_ever_reads, stage)
            suite.run("to a disk that is full", full_disk, stage, baseline)
            suite.run("to the journal", journal, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
