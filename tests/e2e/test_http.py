#!/usr/bin/env python3
"""Files over HTTP, from nginx with curl: a gibibyte down, a quarter up, many small ones at once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from content import MIB, sum_of, write_file
from harness.forwarders import Route, chosen
from harness.process import PATIENCE, SANITIZED, program, run
from harness.servers import Nginx
from harness.suite import Suite, check_equal

DOWN = 128 if SANITIZED else 1024  # MiB
UP = 64 if SANITIZED else 256


def download(nginx: Nginx, port: int) -> str:
    wanted = write_file(nginx.files / "down", DOWN)
    digest = hashlib.sha256()
    size = 0
    started = time.monotonic()
    argv = [program("curl"), "-sS", "--fail", "--max-time", str(120 * PATIENCE)]
    with subprocess.Popen(
        [*argv, f"http://127.0.0.1:{port}/down"], stdout=subprocess.PIPE, bufsize=0
    ) as curl:
        assert curl.stdout
        while piece := curl.stdout.read(MIB):
            digest.update(piece)
            size += len(piece)
    seconds = time.monotonic() - started
    check_equal(curl.returncode, 0, "curl's exit status")
    check_equal(size, DOWN * MIB, "bytes")
    check_equal(digest.hexdigest(), wanted, "SHA-256")
    return f"{size * 8 / seconds / 1e9:.1f} Gbit/s, hashed on the way"


def upload(nginx: Nginx, port: int, folder: Path) -> None:
    wanted = write_file(folder / "up", UP)
    url = f"http://127.0.0.1:{port}/up"
    run(["curl", "-sS", "--fail", "-T", folder / "up", url], seconds=120)
    check_equal(sum_of(nginx.files / "up"), wanted, "SHA-256")


def both_at_once(nginx: Nginx, port: int, folder: Path) -> None:
    """Downloads and uploads side by side, each in a curl of its own."""
    wanted = write_file(nginx.files / "both", 32)
    (folder / "up-both").symlink_to(nginx.files / "both")
    base = [program("curl"), "-sS", "--fail", "--max-time", "120"]
    curls = []
    for number in range(4):
        got = folder / f"got-{number}"
        curls.append([*base, "-o", str(got), f"http://127.0.0.1:{port}/both"])
        curls.append(
            [*base, "-T", str(folder / "up-both"), f"http://127.0.0.1:{port}/put-{number}"]
        )
    running = [subprocess.Popen(argv) for argv in curls]
    check_equal([curl.wait() for curl in running], [0] * len(curls), "exit statuses")
    for number in range(4):
        check_equal(sum_of(folder / f"got-{number}"), wanted, f"SHA-256 of download {number}")
        check_equal(sum_of(nginx.files / f"put-{number}"), wanted, f"SHA-256 of upload {number}")


def main() -> int:
    with Suite("files over HTTP") as suite:
        with Nginx(suite.folder, suite.ports) as nginx:
            route = Route(suite.ports.take(), nginx.port)
            with chosen()(suite.folder, suite.ports, [route]) as forwarder:
                port = forwarder.entry(route)
                suite.run(f"{DOWN} MiB from nginx to curl", download, nginx, port)
                suite.run(f"{UP} MiB from curl to nginx", upload, nginx, port, suite.folder)
                suite.run("four each way at once", both_at_once, nginx, port, suite.folder)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
