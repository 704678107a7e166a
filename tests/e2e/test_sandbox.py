#!/usr/bin/env python3
"""How source and dest protect themselves, as the kernel sees it and as they say it themselves."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import socket
import sys
import threading
import time
from pathlib import Path

from harness.echo import Echo, exchange
from harness.process import PATIENCE, SANITIZED, Process, program, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service, binary, merge, ready, start, toml

PARTS = {
    "user",
    "capabilities",
    "no_new_privs",
    "seccomp",
    "landlock",
    "no_core_dumps",
    "locked_keys",
    "signer",
}
AS_ROOT = os.geteuid() == 0
CAP_NET_BIND_SERVICE = 1 << 10
# SECRET_ARENA_SIZE of crypto/secret.h
ARENA_KIB = 1024
# Each is a chance for threads to be caught unawares.
STARTS = 6


def account() -> int:
    """As whom a role goes on that is told nothing."""
    if not AS_ROOT:
        return os.geteuid()
    try:
        return pwd.getpwnam("utun").pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid


ACCOUNT = account()


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo

    def pair(self, name: str, changes: dict | None = None) -> Pair:
        ports = self.suite.ports
        service = Service(ports.take(), self.echo.port)
        changes = merge({"metrics": {"enabled": True, "metrics_port": 0}}, changes or {})
        return Pair(
            self.suite.folder,
            ports,
            [service],
            self.authority,
            name=name,
            source_changes=changes,
            dest_changes=changes,
        )


def kernel_view(process: Process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {key: text.strip() for key, _, text in (line.partition(":") for line in lines)}


def threads(process: Process) -> list[dict[str, str]]:
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        found.append({key: text.strip() for key, _, text in (x.partition(":") for x in lines)})
    return found


def status_of(process: Process) -> dict:
    port = process.wait_event("admin.listening")["port"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * PATIENCE)
    connection.request("GET", "/status")
    return json.loads(connection.getresponse().read())


def check_held(process: Process, account: int) -> None:
    """Every thread: no capability, no way to get one, system calls filtered, the account."""
    seen = threads(process)
    check(len(seen) > 2, f"threads of {process.name}: {len(seen)}")
    for thread in seen:
        who = f"{process.name} {thread['Name']}"
        check_equal(thread["Seccomp"], "2", f"Seccomp of {who}")
        check_equal(thread["NoNewPrivs"], "1", f"NoNewPrivs of {who}")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            check_equal(int(thread[kind], 16), 0, f"{kind} of {who}")
        check_equal(set(thread["Uid"].split()), {str(account)}, f"Uid of {who}")
    if not SANITIZED:  # whose mlock does nothing
        locked = process.status_kib("VmLck")
        check(locked >= ARENA_KIB, f"{process.name} has {locked} KiB of memory locked")
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    core = re.search(r"Max core file size\s+(\S+)\s+(\S+)", limits)
    check_equal(core and core.groups(), ("0", "0"), f"core limit of {process.name}")


def by_default(stage: Stage) -> str:
    with stage.pair("default") as pair:
        exchange(pair.services[0].port, 100_000)
        for process in (pair.source, pair.dest):
            assert process
            security = status_of(process)["security"]
            check_equal(set(security), PARTS, "parts in /status")
            for part in PARTS - {"landlock"}:
                check_equal(security[part]["state"], "on", f"{part} of {process.name}")
            line = process.wait_event("sandbox.ready")
            for part in PARTS:
                check_equal(line[part], security[part]["state"], f"{part} in the log")
            check_held(process, ACCOUNT)
            check_equal(process.events("sandbox.off"), [], "warnings")
            # Nobody is served before it is closed.
            text = process.text()
            ready_at = text.index(f'"{process.argv[1]}.ready"')
            check(text.index('"sandbox.ready"') < ready_at, f"{process.name} is ready too early")
    return f"Landlock {security['landlock']['state']}: {security['landlock']['detail']}"


def can_look_into(pid: int, account: pwd.struct_passwd) -> bool:
    """Whether another process of that account reads what a debugger would."""
    as_it = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    done = run(["head", "-c", "1", f"/proc/{pid}/maps"], status=None, cwd="/", **as_it)
    return done.returncode == 0 and done.stdout != ""


def another_account(stage: Stage) -> str:
    """Started by root on a port that only root may bind, and an ordinary account afterwards."""
    if not AS_ROOT:
        return started_by_others(stage)
    nobody = pwd.getpwnam("nobody")
    as_nobody = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    sleeper = [program("setpriv"), *as_nobody, "sleep", "60"]
    with Process("open", sleeper, stage.suite.folder) as ordinary:
        wait_until(lambda: can_look_into(ordinary.pid, nobody), 10, "to see what is not closed")
    low = next(port for port in range(1023, 600, -1) if is_free(port))
    pair = stage.pair("account", {"security": {"user": "nobody"}})
    pair.source_table["source"]["exposed_ports"] = [{"port": low}]
    pair.dest_table["dest"]["exposed_services"][0]["port"] = low
    with pair:
        exchange(low, 100_000)
        for process in (pair.source, pair.dest):
            assert process
            check_held(process, nobody.pw_uid)
            check(not can_look_into(process.pid, nobody), f"its account looks into {process.name}")
            check_equal(kernel_view(process)["Groups"].split(), [str(nobody.pw_gid)], "groups")
            security = status_of(process)["security"]
            check_equal(security["user"], {"state": "on", "detail": "nobody"}, "user")
    return f"port {low}, then nobody"


def started_by_others(stage: Stage) -> str:
    with stage.pair("others") as pair:
        assert pair.source
        check_equal(status_of(pair.source)["security"]["user"]["state"], "on", "user")
    return "not started by root"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def root_if_told(stage: Stage) -> None:
    """user = "root": the account stays, its rights do not, but to bind low ports."""
    if not AS_ROOT:
        return
    with stage.pair("root", {"security": {"user": "root"}}) as pair:
        exchange(pair.services[0].port, 1000)
        assert pair.dest
        check_equal(status_of(pair.dest)["security"]["user"]["state"], "off", "user")
        check_equal(int(kernel_view(pair.dest)["CapEff"], 16), CAP_NET_BIND_SERVICE, "CapEff")


def unknown_account(stage: Stage) -> None:
    if not AS_ROOT:
        return
    pair = stage.pair("unknown", {"security": {"user": "no-such-account"}})
    with start("dest", "unknown-dest", stage.suite.folder, pair.dest_table) as dest:
        check_equal(dest.wait(10), 1, "exit status")
        line = dest.events("start.failed")[0]
        check("no-such-account" in line["detail"], f"detail: {line['detail']}")


def cannot_become(stage: Stage) -> str:
    """An account that the kernel does not let it take: each start ends in order, with clients at the
    door, and leaves nothing behind."""
    if not AS_ROOT:
        return "not started by root"
    pair = stage.pair("become", {"security": {"user": "nobody", "sandbox": False}})
    path = stage.suite.folder / "become.sock"
    pair.source_table["source"]["exposed_ports"] = [{"port": 1, "listen_path": path}]
    is_over = threading.Event()
    knocking = threading.Thread(target=knock, args=(pair.tunnel_port, is_over), daemon=True)
    knocking.start()
    for i in range(STARTS):
        for role, table in (("source", pair.source_table), ("dest", pair.dest_table)):
            name = f"become-{role}-{i}"
            config = stage.suite.folder / f"{name}.toml"
            config.write_text(toml(table))
            without = [program("setpriv"), "--bounding-set=-setuid", binary()]
            argv = [*without, role, "--config", config, "--log-format", "json"]
            with Process(name, argv, stage.suite.folder) as process:
                check_equal(process.wait(20), 1, f"status of {name}, that said {process.text()}")
                line = process.events("start.failed")[0]
                check("nobody" in line["detail"], f"detail: {line['detail']}")
                check_equal(process.events("listener.up") != [], role == "source", "ports taken")
                for event in (f"{role}.ready", "handshake.failed", "handshake.refused"):
                    check_equal(process.events(event), [], f"{event} of {name}")
        check(not path.exists(), "the socket of a start that failed is still there")
    is_over.set()
    knocking.join()
    return f"{STARTS} times each"


def knock(port: int, is_over: threading.Event) -> None:
    while not is_over.is_set():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.0002)


def turned_off(stage: Stage) -> None:
    pair = stage.pair("off", {"security": {"sandbox": False}})
    with start("dest", "off-dest", stage.suite.folder, pair.dest_table) as dest:
        ready(dest)
        dest.wait_event("sandbox.off")
        check_equal(kernel_view(dest)["Seccomp"], "0", "Seccomp")
        security = status_of(dest)["security"]
        check_equal(security["seccomp"]["state"], "off", "seccomp")
        check_equal(security["landlock"]["state"], "off", "landlock")


def main() -> int:
    with Suite("sandbox") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            suite.run("by default", by_default, stage)
            suite.run("another account than root", another_account, stage)
            suite.run("root, if told so", root_if_told, stage)
            suite.run("an account that does not exist", unknown_account, stage)
            suite.run("an account that cannot be taken", cannot_become, stage)
            suite.run("sandbox = false", turned_off, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
