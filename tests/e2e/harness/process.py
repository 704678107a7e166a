"""Child processes: started with their output in files, watched, measured, always reaped."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness import memcheck

# A sanitizer, and memcheck still more, makes everything slower: waits get longer, loads smaller.
SANITIZED = os.environ.get("UTUN_SANITIZED") == "1" or memcheck.ON
PATIENCE = 10.0 if memcheck.ON else 5.0 if SANITIZED else 1.0

# What "flat" is when memory is looked at over time. A sanitizer keeps up to 256 MiB of what was freed,
# memcheck some of it; there, the leaks that they look for themselves must do.
GROWTH_KIB = 300 * 1024 if SANITIZED else 4096

# A thread writes the log, some milliseconds later: what has happened is there after this.
LOG_LAG = 0.02 * PATIENCE

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Missing(Exception):
    """A program that the test needs is not installed. That is a failure, never a skip."""


def program(name: str) -> str:
    """The path of a program; also looks where ordinary users' PATH does not."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed; tools/setup --test --bench installs it")
    return found


def raise_descriptor_limit() -> None:
    """For a process that itself holds a thousand connections. Children started later inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> object:
    """Polls until the condition is true and returns its value; TimeoutError names what."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds * PATIENCE:.0f} s for {what}")
        time.sleep(0.01)


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens there, without connecting to it."""
    family, table = (socket.AF_INET6, "tcp6") if ":" in host else (socket.AF_INET, "tcp")
    raw = socket.inet_pton(family, host)
    words = [raw[i : i + 4][::-1].hex().upper() for i in range(0, len(raw), 4)]
    wanted = {"".join(words), "0" * len(raw) * 2}
    for name in {table, "tcp6"}:  # "::" may stand for both families
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            where, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                if where in wanted or where == "0" * 32:
                    return True
    return False


def receives(port: int) -> bool:
    """Whether a UDP socket is bound to the port, at any address."""
    for name in ("udp", "udp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            if int(line.split()[1].partition(":")[2], 16) == port:
                return True
    return False


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child. Its standard output and error go to <folder>/<name>.out and .err."""

    started: list[Process] = []

    def __init__(
        self,
        name: str,
        argv: list[str | Path],
        folder: Path,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        stderr: int | None = None,  # a descriptor, instead of the file
    ) -> None:
        self.name = name
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        self.argv = [program(str(argv[0])), *map(str, argv[1:])]
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                memcheck.command(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err if stderr is None else stderr,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                preexec_fn=die_with_parent,
            )
        self.pid = self.popen.pid
        Process.started.append(self)

    # -- life

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def send_signal(self, number: int) -> None:
        if self.is_running():
            self.popen.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Its exit status; TimeoutError if it does not end."""
        try:
            return self.popen.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not end in {seconds * PATIENCE:.0f} s") from None

    def stop(self, number: int = signal.SIGTERM, seconds: float = 5.0) -> int:
        """Asks it to end, kills it if it does not, and reaps it; its exit status."""
        self.send_signal(number)
        try:
            return self.wait(seconds)
        except TimeoutError:
            self.popen.kill()
            return self.popen.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_listening(self, port: int, host: str = "127.0.0.1", seconds: float = 20.0) -> None:
        def ready() -> bool:
            if not self.is_running():
                raise RuntimeError(f"{self.name} ended with status {self.popen.returncode}")
            return listens(port, host)

        wait_until(ready, seconds, f"{self.name} to listen on port {port}")

    # -- what it said

    def text(self) -> str:
        return self.out_path.read_text(errors="replace") + self.err_path.read_text(errors="replace")

    def events(self, name: str | None = None, **fields: object) -> list[dict]:
        """The JSON log lines on its standard error, perhaps only those with these fields."""
        time.sleep(LOG_LAG)
        found = []
        for line in self.err_path.read_text(errors="replace").splitlines():
            if not line.startswith("{"):
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line while it is being written
            if name is not None and event.get("event") != name:
                continue
            if all(event.get(key) == value for key, value in fields.items()):
                found.append(event)
        return found

    def wait_event(
        self, name: str, seconds: float = 10.0, count: int = 1, **fields: object
    ) -> dict:
        """The count-th such event; TimeoutError if it does not come, or if the process ends."""

        def seen() -> dict | None:
            over = not self.is_running()
            events = self.events(name, **fields)
            if len(events) >= count:
                return events[count - 1]
            if over:
                raise TimeoutError(f"{self.name} ended before it logged {name} {fields or ''}")
            return None

        event = wait_until(seen, seconds, f"{self.name} to log {name} {fields or ''}")
        assert isinstance(event, dict)
        return event

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    # -- what it uses

    def fd_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_kib(self) -> int:
        return self.status_kib("VmRSS")

    def status_kib(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise KeyError(key)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    argv: list[str | Path],
    seconds: float = 60.0,
    status: int | None = 0,
    **options: object,
) -> subprocess.CompletedProcess:
    """Runs a program to its end and returns it with its text; another status than `status` raises."""
    done = subprocess.run(
        memcheck.command([program(str(argv[0])), *map(str, argv[1:])]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=seconds * PATIENCE,
        **options,
    )
    if status is not None and done.returncode != status:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise RuntimeError(f"{' '.join(done.args)} ended with {done.returncode}: {said}")
    return done
