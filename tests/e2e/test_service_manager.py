#!/usr/bin/env python3
"""What a service manager sees: the units, and the messages of sd_notify's protocol."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from harness.process import PATIENCE, Process, listens, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    Authority,
    Daemon,
    Service,
    binary,
    dest_config,
    source_config,
    start,
    toml,
)

# Of what systemd-analyze sees, more than a unit with User= has: utun itself gives it up.
EXPOSURE_MAX = 2.5
WATCHDOG_SECS = 1


class Manager:
    """The other end of NOTIFY_SOCKET: remembers what came, and when."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.path))
        self.messages: list[tuple[float, dict[str, str]]] = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            data = self.sock.recv(4096).decode()
            pairs = dict(line.split("=", 1) for line in data.splitlines() if line)
            self.messages.append((time.monotonic(), pairs))

    def values(self, key: str) -> list[str]:
        return [message[key] for _, message in list(self.messages) if key in message]

    def wait(self, key: str, count: int = 1, seconds: float = 20) -> None:
        wait_until(lambda: len(self.values(key)) >= count, seconds, f"{count} times {key}")


def managed(stage: "Stage", role: str, name: str, config: dict, manager: Manager, **env: str) -> Daemon:
    path = stage.suite.folder / f"{name}.toml"
    path.write_text(toml(config))
    argv = [binary(), role, "--config", path, "--log-format", "json"]
    return Daemon(name, argv, stage.suite.folder, env={"NOTIFY_SOCKET": str(manager.path), **env})


class Stage:
    def __init__(self, suite: Suite, authority: Authority) -> None:
        self.suite = suite
        self.authority = authority

    def dest(self) -> tuple[dict, int]:
        port = self.suite.ports.take()
        service = Service(self.suite.ports.take(), self.suite.ports.take())
        return dest_config(port, [service], self.authority), port

    def source(self, tunnel_port: int) -> tuple[dict, int]:
        port = self.suite.ports.take()
        return source_config(tunnel_port, [port], self.authority), port


# -- messages


def ready_means_ports_are_taken(stage: Stage, role: str) -> None:
    """A source is ready without its dest: what starts after it finds the port open."""
    config, port = stage.dest() if role == "dest" else stage.source(stage.suite.ports.take())
    manager = Manager(stage.suite.folder, f"ready-{role}")
    with managed(stage, role, f"ready-{role}", config, manager) as process:
        manager.wait("READY")
        check(listens(port), f"READY came before port {port} was taken")
        manager.wait("STATUS")
        process.send_signal(signal.SIGTERM)
        manager.wait("STOPPING")
        extended = int(manager.values("EXTEND_TIMEOUT_USEC")[0])
        check(extended >= 30_000_000, f"only {extended} us to stop")
        check_equal(process.wait(), 0, "exit status")
    check_equal(manager.values("READY"), ["1"], "READY")
    check_equal(manager.values("WATCHDOG"), [], "WATCHDOG of a unit that has none")


def status_follows_the_tunnel(stage: Stage) -> str:
    dest_table, tunnel_port = stage.dest()
    source_table, _ = stage.source(tunnel_port)
    manager = Manager(stage.suite.folder, "status")
    with managed(stage, "source", "status-source", source_table, manager):
        manager.wait("STATUS")
        check(not manager.values("STATUS")[0].startswith("healthy"), "healthy without a dest")
        with start("dest", "status-dest", stage.suite.folder, dest_table):
            wait_until(
                lambda: manager.values("STATUS")[-1].startswith("healthy"), 30, "STATUS=healthy"
            )
    return " | ".join(manager.values("STATUS"))


def watchdog_is_fed_while_loops_turn(stage: Stage) -> str:
    config, _ = stage.dest()
    config["dest"]["workers"] = 3
    manager = Manager(stage.suite.folder, "watchdog")
    env = {"WATCHDOG_USEC": str(WATCHDOG_SECS * 1_000_000)}
    with managed(stage, "dest", "watchdog", config, manager, **env) as process:
        manager.wait("WATCHDOG", count=6)
        # A process that hangs cannot say that all is well, nor afterwards that it was.
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        before = len(manager.values("WATCHDOG"))
        time.sleep(WATCHDOG_SECS)
        check_equal(len(manager.values("WATCHDOG")), before, "messages of a stopped process")
        process.send_signal(signal.SIGCONT)
        manager.wait("WATCHDOG", count=before + 2)
    times = [at for at, message in manager.messages if "WATCHDOG" in message]
    gaps = [later - earlier for earlier, later in zip(times[:6], times[1:6])]
    check(max(gaps) < WATCHDOG_SECS * PATIENCE, f"{max(gaps):.2f} s between two of them")
    return f"every {sum(gaps) / len(gaps):.2f} s of {WATCHDOG_SECS} s"


def one_hanging_worker_is_enough(stage: Stage) -> str:
    """With one worker's thread stopped, by a debugger's means, the others' health does not count."""
    config, _ = stage.dest()
    config["dest"]["workers"] = 3
    config["metrics"] = {"enabled": True, "metrics_port": stage.suite.ports.take()}
    manager = Manager(stage.suite.folder, "hang")
    env = {"WATCHDOG_USEC": str(WATCHDOG_SECS * 1_000_000)}
    with managed(stage, "dest", "hang", config, manager, **env) as process:
        manager.wait("WATCHDOG", count=2)
        with StoppedThread(worker_thread(process)):
            process.wait_event("supervisor.stuck", seconds=20, workers=1)
            before = len(manager.values("WATCHDOG"))
            process.wait_event("supervisor.stuck", seconds=20, count=3)
            check_equal(len(manager.values("WATCHDOG")), before, "messages beside a stuck worker")
            said = alive(stage.suite.folder / "hang.toml", status=1)
            check("workers that do not answer: 1" in said, said)
        manager.wait("WATCHDOG", count=before + 2)
        alive(stage.suite.folder / "hang.toml", status=0)
    return "noticed, and over when it went on"


def alive(config: Path, status: int) -> str:
    return run([binary(), "health", "--alive", "--config", config], status=status).stdout


def exit_status_says_whether_to_try_again(stage: Stage) -> str:
    """The units start it again after 1, not after 2 (RestartPreventExitStatus)."""
    config, _ = stage.dest()
    path = stage.suite.folder / "faulty.toml"
    absent = stage.suite.folder / "absent"

    def ends_with(status: int, table: dict, *before: str, file: Path = path) -> str:
        path.write_text(toml(table))
        return run([*before, binary(), "dest", "--config", file], status=status).stderr

    def changed(**keys: object) -> dict:
        return {**config, "auth": {**config["auth"], **keys}}

    cases = (
        ("a descriptor too few", 1, "Too many open files", config, ("prlimit", "--nofile=5")),
        ("a certificate that is missing", 1, "no such file", changed(server_cert_path=absent), ()),
        ("a key that is missing", 1, "no such file", changed(server_key_path=absent), ()),
        ("a key for a certificate", 2, "", changed(server_cert_path=config["auth"]["server_key_path"]), ()),
        ("a path to nowhere in the schema", 2, "unknown key", changed(server_crt_path=absent), ()),
        ("a port that is none", 2, "tunnel_port", {**config, "dest": {"tunnel_port": 0}}, ()),
    )
    for name, status, why, table, before in cases:
        said = ends_with(status, table, *before)
        check(why in said, f"{name}: {said}")
    ends_with(1, config, file=absent)
    for role in ("source", "dest"):
        check_equal(unit(role)["Service"]["RestartPreventExitStatus"], "2", f"the unit of the {role}")
    return f"{len(cases) + 1} faults"


def nobody_is_bothered(stage: Stage) -> None:
    """A NOTIFY_SOCKET that leads nowhere is said once; the role runs all the same."""
    config, port = stage.dest()
    manager = Manager(stage.suite.folder, "nobody")
    manager.path.unlink()
    with managed(stage, "dest", "nobody", config, manager) as process:
        process.wait_listening(port)
        check_equal(len(process.events("supervisor.unreachable")), 1, "warnings")


# -- a thread that does not turn


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class StoppedThread:
    def __init__(self, tid: int) -> None:
        import ctypes

        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long] * 4

    def call(self, request: int) -> None:
        if self.libc.ptrace(request, self.tid, 0, 0) != 0:
            raise OSError(f"ptrace {request:#x} of thread {self.tid} failed")

    def __enter__(self) -> None:
        self.call(PTRACE_SEIZE)
        self.call(PTRACE_INTERRUPT)
        os.waitpid(self.tid, 0x40000000)  # __WALL

    def __exit__(self, *_: object) -> None:
        self.call(PTRACE_DETACH)


def worker_thread(process: Process) -> int:
    """A thread of the role's workers: they are named so."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("worker"):
            return int(task.name)
    raise AssertionError("no thread is named worker")


# -- units


def unit_text(role: str) -> str:
    return (binary().parent / "packaging" / "systemd" / f"utun-{role}.service").read_text()


def unit(role: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit_text(role))
    return parser


def is_hardened(stage: Stage, role: str) -> str:
    folder = stage.suite.folder / "units"
    folder.mkdir(exist_ok=True)
    path = folder / f"utun-{role}.service"
    path.write_text(unit_text(role))
    said = run(["systemd-analyze", "security", "--offline=true", "--no-pager", path]).stdout
    match = re.search(r"exposure level for utun-\w+\.service: ([0-9.]+)", said)
    check(match, f"systemd-analyze says no level: {said[-300:]}")
    check(float(match[1]) < EXPOSURE_MAX, f"exposure level {match[1]}")
    return f"exposure level {match[1]}"


def root_has_only_what_it_needs(stage: Stage, role: str) -> str:
    """What test_debian_package.py tries, in its long form: root starts it, and keys are root's own."""
    service = unit(role)["Service"]
    for key in ("User", "Group", "DynamicUser", "AmbientCapabilities"):
        check(key not in service, f"{key}={service.get(key)}")
    rights = service["CapabilityBoundingSet"]
    check_equal(set(rights.split()), {"CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"}, "CapabilityBoundingSet")
    # Without CAP_KILL root cannot signal the account's process, unless systemd leaves it all its rights.
    check(service["ExecReload"].startswith("+"), f"ExecReload={service['ExecReload']}")
    return rights


def is_valid(stage: Stage, role: str) -> None:
    """systemd-analyze finds nothing, with the program where the unit has it."""
    folder = stage.suite.folder / "verify"
    folder.mkdir(exist_ok=True)
    path = folder / f"utun-{role}.service"
    start_line = unit(role)["Service"]["ExecStart"]
    documentation = unit(role)["Unit"]["Documentation"]
    text = unit_text(role).replace(start_line.split()[0], str(binary()))
    path.write_text(text.replace(f"Documentation={documentation}\n", ""))
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    done = run(["systemd-analyze", "verify", "--man=no", path], status=None, env=env)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if path.name in line]
    check_equal(complaints, [], "systemd-analyze verify")
    check_equal(start_line.split()[1:], [role, "--config", "/etc/utun/config.toml"], "ExecStart")


def main() -> int:
    with Suite("service_manager") as suite:
        check(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
        stage = Stage(suite, Authority(suite.folder))
        for role in ("source", "dest"):
            suite.run(f"{role}: the unit scores below {EXPOSURE_MAX}", is_hardened, stage, role)
            suite.run(f"{role}: the unit is valid", is_valid, stage, role)
            suite.run(f"{role}: root's rights", root_has_only_what_it_needs, stage, role)
            suite.run(f"{role}: READY, then STOPPING", ready_means_ports_are_taken, stage, role)
        suite.run("STATUS follows the tunnel", status_follows_the_tunnel, stage)
        suite.run("the watchdog is fed", watchdog_is_fed_while_loops_turn, stage)
        suite.run("one worker that hangs", one_hanging_worker_is_enough, stage)
        suite.run("what to try again", exit_status_says_whether_to_try_again, stage)
        suite.run("a NOTIFY_SOCKET that leads nowhere", nobody_is_bothered, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
