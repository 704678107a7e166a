#!/usr/bin/env python3
"""utun demo: what it prints, serves, leaves behind (nothing), and how it ends."""

from __future__ import annotations

import os
import re
import signal
import stat
import struct
import sys
import urllib.error
import urllib.request
from pathlib import Path

from harness.process import SANITIZED, Process, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import binary

SIZE_MIB = 4 if SANITIZED else 32
HUGE_MIB = 1024 * 1024  # more than any machine sends before the test has looked
SEED_DOWN = 0x75746E2D646F776E
SEED_UP = 0x75746E2D2D2D7570
MASK = (1 << 64) - 1


def data(seed: int, length: int) -> bytes:
    """The demo's data, from its description alone."""
    out = bytearray()
    for index in range((length + 7) // 8):
        x = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        out += struct.pack("<Q", x ^ (x >> 31))
    return bytes(out[:length])


class Demo:
    """One run with a temporary folder of its own, to see what it leaves there."""

    def __init__(self, suite: Suite, name: str, *options: str) -> None:
        self.temporary = suite.folder / f"tmp-{name}"
        self.temporary.mkdir()
        self.process = Process(
            f"demo-{name}",
            [binary(), "demo", *options],
            suite.folder,
            env={"TMPDIR": str(self.temporary), "LC_ALL": "C.UTF-8"},
        )

    def text(self) -> str:
        return self.process.out_path.read_text()

    def url(self) -> str:
        def find() -> str | None:
            check(self.process.is_running(), f"it has ended:\n{self.text()}")
            found = re.search(r"curl (http://127\.0\.0\.1:\d+/)", self.text())
            return found and found.group(1)

        return str(wait_until(find, 60, "the line to try"))

    def folder(self) -> Path:
        made = list(self.temporary.iterdir())
        check_equal(len(made), 1, "folders made")
        return made[0]

    def check_gone(self) -> None:
        check_equal(list(self.temporary.iterdir()), [], "what it left behind")
        check_equal(self.process.err_path.read_text(), "", "what it said on standard error")


def once(suite: Suite) -> str:
    demo = Demo(suite, "once", "--once", "--size", str(SIZE_MIB))
    check_equal(demo.process.wait(120), 0, "its exit status")
    text = demo.text()
    for fact in ("TLS 1.3", "X25519MLKEM768", "Classic McEliece", "mldsa65", "AES-256-GCM"):
        check(fact in text, f"no {fact} in:\n{text}")
    check_equal(text.count("every byte is right"), 2, "transfers that were right")
    check("\033" not in text, "escape sequences although this is no terminal")
    demo.check_gone()
    return re.sub(r"\s+", " ", "; ".join(re.findall(r"[\d.]+ Gbit/s", text)))


def until_interrupted(suite: Suite, number: int) -> None:
    demo = Demo(suite, f"until-{number}", "--size", "1")
    url = demo.url()
    folder = demo.folder()
    check_equal(stat.S_IMODE(folder.stat().st_mode), 0o700, "the folder's mode")
    for key in folder.glob("*.key"):
        check_equal(stat.S_IMODE(key.stat().st_mode), 0o600, f"the mode of {key.name}")
    check(not (folder / "ca.key").exists(), "the CA's key was written")

    page = urllib.request.urlopen(url, timeout=20)
    check("through utun" in page.read().decode(), "another page")
    length = 100_003
    got = urllib.request.urlopen(f"{url}bytes/{length}", timeout=20).read()
    check(got == data(SEED_DOWN, length), "other bytes than the description says")

    demo.process.send_signal(number)
    check_equal(demo.process.wait(20), 0, "its exit status")
    demo.check_gone()


def service_checks(suite: Suite) -> None:
    """The service says of right bytes that they are right, and finds a wrong one."""
    demo = Demo(suite, "check", "--size", "1")
    url = f"{demo.url()}check"
    right = data(SEED_UP, 50_000)
    answer = urllib.request.urlopen(url, data=right, timeout=20).read()
    check_equal(answer, b"50000 bytes, every one right\n", "its answer")
    wrong = bytearray(right)
    wrong[43_210] ^= 1
    try:
        urllib.request.urlopen(url, data=bytes(wrong), timeout=20)
        raise AssertionError("a wrong byte was taken for right")
    except urllib.error.HTTPError as error:
        check_equal(error.code, 422, "its status")
        check_equal(error.read(), b"byte 43210 is wrong\n", "its answer")
    demo.process.send_signal(signal.SIGINT)
    check_equal(demo.process.wait(20), 0, "its exit status")


def interrupted_check(suite: Suite) -> None:
    """A check that was not finished has not passed."""
    demo = Demo(suite, "interrupted", "--once", "--size", str(HUGE_MIB))
    wait_until(lambda: "Download" in demo.text(), 60, "the download to begin")
    demo.process.send_signal(signal.SIGTERM)
    check_equal(demo.process.wait(20), 1, "its exit status")
    demo.check_gone()


def two_at_once(suite: Suite) -> None:
    demos = [Demo(suite, f"two-{i}", "--once", "--size", "8") for i in range(2)]
    for demo in demos:
        check_equal(demo.process.wait(120), 0, "its exit status")
        demo.check_gone()


def nowhere_to_write(suite: Suite) -> None:
    demo = Process(
        "demo-nowhere",
        [binary(), "demo", "--once"],
        suite.folder,
        env={"TMPDIR": str(suite.folder / "missing")},
    )
    check_equal(demo.wait(20), 1, "its exit status")
    check("missing" in demo.err_path.read_text(), "it does not say which folder")


def main() -> int:
    os.umask(0o022)
    with Suite("utun demo") as suite:
        suite.run("--once checks every byte and leaves nothing", once, suite)
        for number in (signal.SIGINT, signal.SIGTERM):
            suite.run(f"serves until {number.name}", until_interrupted, suite, number)
        suite.run("its service finds a wrong byte", service_checks, suite)
        suite.run("a check that is interrupted fails", interrupted_check, suite)
        suite.run("two at once", two_at_once, suite)
        suite.run("nowhere to write", nowhere_to_write, suite)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
