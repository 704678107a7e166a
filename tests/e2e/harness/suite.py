"""A row of cases: each printed with its time, the reasons of failures, and a closing line."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import memcheck
from harness.ports import Ports
from harness.process import Process

LONG = os.environ.get("UTUN_TEST_LONG") == "1"


def check(condition: object, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def check_equal(got: object, wanted: object, what: str) -> None:
    check(got == wanted, f"{what}: {got!r} instead of {wanted!r}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A private folder that others may pass through but not list (servers run as other users)."""
    keep = os.environ.get("UTUN_TEST_KEEP") == "1"
    with tempfile.TemporaryDirectory(prefix="utun-test-") as name:
        os.chmod(name, 0o711)
        try:
            yield Path(name)
        finally:
            if keep:
                kept = Path(tempfile.mkdtemp(prefix="utun-kept-"))
                os.rename(name, kept / "run")
                os.mkdir(name)
                print(f"kept: {kept}/run", file=sys.stderr)


class Suite:
    """Runs cases one after another and remembers what failed.

    def main() -> int:
        with Suite("name") as suite:
            suite.run("what must hold", function, arguments...)
        return suite.status()
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.passed = 0
        self.failed: list[str] = []
        self.ports = Ports()
        self.stack = temporary_folder()
        self.folder = Path()

    def __enter__(self) -> Suite:
        # A test that is told to stop must still stop what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.folder = self.stack.__enter__()
        print(f"== {self.name}", flush=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            self.report_failure("the suite itself", error)
        for process in reversed(Process.started):
            process.stop()
        for name, said in memcheck.findings():
            self.failed.append(f"memcheck: {name}")
            print(f"FAIL memcheck: {name}\n  | " + said.replace("\n", "\n  | "), flush=True)
        self.stack.__exit__(None, None, None)
        self.ports.__exit__()
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return isinstance(error, Exception)

    def run(self, name: str, call: Callable, *args: object) -> bool:
        """One case. It may return a string worth printing; it fails by raising."""
        before = len(Process.started)
        started = time.monotonic()
        try:
            note = call(*args)
        except Exception as e:
            self.report_failure(name, e, time.monotonic() - started)
            for process in reversed(Process.started[before:]):
                process.stop()
            return False
        self.passed += 1
        seconds = time.monotonic() - started
        print(f"ok   {name} ({seconds:.1f} s){': ' + note if note else ''}", flush=True)
        return True

    def report_failure(self, name: str, error: BaseException, seconds: float = 0.0) -> None:
        self.failed.append(name)
        print(f"FAIL {name} ({seconds:.1f} s): {error}", flush=True)
        if not isinstance(error, AssertionError):
            traceback.print_exception(error, file=sys.stdout)
        for process in Process.started:
            if process.out_path.exists() and process.text():
                running = "running" if process.is_running() else process.popen.returncode
                print(f"---- {process.name} (pid {process.pid}, {running}): its last lines")
                print("  | " + process.tail().replace("\n", "\n  | "), flush=True)

    def status(self) -> int:
        return 0 if self.passed and not self.failed else 1
