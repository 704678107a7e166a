#!/usr/bin/env python3
"""Another configuration while source and dest run: what it allows goes on, what it does not ends."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from harness.datagrams import Client, UdpEcho
from harness.echo import Conversation, Echo, Pulse, exchange
from harness.process import PATIENCE, Process, listens, receives, wait_until
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, Pair, Service, merge, ready, start, toml

RELOADS = 100 if LONG else 12
LONGEST = 20.0 * PATIENCE
ON = {"metrics": {"enabled": True, "metrics_port": 0}}


class Stage:
    def __init__(self, suite: Suite, echo: Echo, other: Echo, udp: UdpEcho) -> None:
        self.suite = suite
        self.folder = suite.folder
        self.echo = echo
        self.other = other
        self.udp = udp
        self.authority = Authority(suite.folder, algorithm="ecdsa-p256")

    def service(self) -> Service:
        return Service(self.suite.ports.take(), self.echo.port)


class Live:
    """A pair whose configuration files may be written anew; source and dest begin with these."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        services: list[Service],
        source: dict | None = None,
        dest: dict | None = None,
        workers: int = 1,
    ) -> None:
        self.stage = stage
        both = merge(ON, {"crypto": {"kem_mode": "mlkem768"}})
        self.pair = Pair(
            stage.folder,
            stage.suite.ports,
            services,
            stage.authority,
            name=name,
            source_changes=merge(merge(both, {"source": {"workers": workers}}), source or {}),
            dest_changes=merge(
                merge(both, {"dest": {"workers": workers, "handshake_rate_limit": 0}}), dest or {}
            ),
        )

    def __enter__(self) -> Live:
        self.pair.__enter__()
        self.source: Process = self.pair.source
        self.dest: Process = self.pair.dest
        self.tables = {
            self.source: copy.deepcopy(self.pair.source_table),
            self.dest: copy.deepcopy(self.pair.dest_table),
        }
        return self

    def __exit__(self, *error: object) -> None:
        self.pair.__exit__(*error)

    # -- files

    def path(self, process: Process) -> Path:
        return self.stage.folder / f"{process.name}.toml"

    def write_text(self, process: Process, text: str) -> None:
        """In one step, as a careful program does."""
        path = self.path(process)
        path.with_suffix(".next").write_text(text)
        os.replace(path.with_suffix(".next"), path)

    def write(self, process: Process) -> None:
        self.write_text(process, toml(self.tables[process]))

    # -- reloads

    def signal(self, process: Process, event: str = "config.reloaded") -> dict:
        """SIGHUP, and what came of it."""
        seen = len(process.events(event))
        process.send_signal(signal.SIGHUP)
        return process.wait_event(event, count=seen + 1, seconds=20)

    def reload(self, process: Process, changes: dict | None = None) -> dict:
        """Writes the file with these changes, which stay, and has it read."""
        self.tables[process] = merge(self.tables[process], changes or {})
        self.write(process)
        return self.signal(process)

    def refuse(self, process: Process, text: str) -> dict:
        """The same for a file that must be refused."""
        self.write_text(process, text)
        return self.signal(process, "config.reload_failed")

    # -- ports and services

    def expose(self, *services: Service) -> dict:
        ports = [{"port": s.port, "protocol": s.protocol} for s in services]
        return self.reload(self.source, {"source": {"exposed_ports": ports}})

    def serve(self, *services: Service) -> dict:
        rows = [service.table() for service in services]
        return self.reload(self.dest, {"dest": {"exposed_services": rows}})

    # -- what it shows

    def get(self, process: Process, path: str) -> str:
        port = process.wait_event("admin.listening")["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LONGEST) as reply:
            return reply.read().decode()

    def status(self, process: Process) -> dict:
        return json.loads(self.get(process, "/status"))["reload"]

    def metric(self, process: Process, name: str, labels: str = "") -> float:
        match = re.search(rf"^{name}{re.escape(labels)} (\S+)$", self.get(process, "/metrics"), re.M)
        return float(match[1]) if match else 0.0

    def sessions(self) -> int:
        return len(self.source.events("session.up"))


def refused(port: int, what: str) -> None:
    try:
        with Conversation(port) as talk:
            talk.sock.settimeout(LONGEST)
            check(talk.sock.recv(1) == b"", f"{what}: it answers")
    except (ConnectionResetError, ConnectionRefusedError):
        return
    raise AssertionError(f"{what}: a FIN instead of a reset")


def reset(talk: Conversation, what: str) -> None:
    talk.sock.settimeout(LONGEST)
    with contextlib.suppress(ConnectionResetError):
        raise AssertionError(f"{what}: {talk.sock.recv(1)!r} instead of a reset")


# -- ports


def ports_come_and_go(stage: Stage, workers: int) -> str:
    """Added and removed at a source; whoever came by a port that is gone goes on to his end."""
    kept, gone, new = (stage.service() for _ in range(3))
    udp = Service(stage.suite.ports.take_both(), stage.udp.port, protocol="udp")
    name = f"ports-{workers}"
    with (
        Live(stage, name, [kept, gone], workers=workers) as live,
        Pulse(kept.port) as pulse,
        Conversation(gone.port) as stays,
    ):
        stays.say(b"before")
        live.serve(kept, gone, new, udp)
        live.expose(kept, gone, new, udp)
        for _ in range(4):  # every worker has it
            exchange(new.port, 10_000)
        with Client(udp.port) as client:
            client.try_until_answered(10)
            live.expose(kept, new)
            live.source.wait_event("listener.down", port=gone.port)
            live.source.wait_event("listener.down", port=udp.port, protocol="udp")
            check(not listens(gone.port), "the port that is gone still listens")
            check(not receives(udp.port), "the UDP port that is gone is still bound")
        stays.say(b"after" * 10_000)
        live.expose(kept, gone, new)
        exchange(gone.port, 10_000)
        stays.say(b"and when it has come back")
        stays.finish()
        wait_until(lambda: len(pulse.waits) > 20, 10, "the pulse")
        check_equal(live.sessions(), workers, "sessions")
        services = json.loads(live.get(live.source, "/status"))["services"]
        shown = sorted(service["port"] for service in services)
        check_equal(shown, sorted([kept.port, gone.port, new.port]), "ports that are shown")
    return f"slowest answer {pulse.slowest() * 1000:.0f} ms"


def entry_point_and_users(stage: Stage) -> str:
    """The mode changes, and the list of users, which counts by itself as soon as it is another."""
    service = stage.service()
    users = stage.folder / "users"

    def write(text: str) -> None:
        users.with_suffix(".next").touch(mode=0o600)
        users.with_suffix(".next").write_text(text)
        os.replace(users.with_suffix(".next"), users)

    def login(port: int, password: str) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as sock:
            sock.sendall(b"\x05\x01\x02")
            check_equal(sock.recv(2), b"\x05\x02", "the chosen method")
            word = password.encode()
            sock.sendall(b"\x01\x01u" + bytes([len(word)]) + word)
            answer = sock.recv(2)
            return answer == b"\x01\x00"

    write("u:first\n")
    entry = stage.suite.ports.take()
    # The list belongs to whoever runs this, and nobody else may read it.
    same_account = {"security": {"user": "root"}}
    with Live(stage, "entry", [service], same_account) as live, Pulse(service.port):
        live.reload(
            live.source,
            {"source": {"mode": "hybrid", "listen_port": entry, "proxy_users_path": users}},
        )
        check(login(entry, "first") and not login(entry, "second"), "the first list")
        write("u:second\n")
        event = live.source.wait_event("config.reloaded", trigger="file", seconds=20)
        check(login(entry, "second") and not login(entry, "first"), "the second list")
        write("nobody\n")
        bad = live.source.wait_event("config.reload_failed", seconds=20)
        check("line 1" in bad["detail"], f"no line in {bad}")
        check(login(entry, "second"), "a bad list took effect")
        live.reload(live.source, {"source": {"mode": "transparent"}})
        check(not listens(entry), "the entry point still listens")
        check_equal(live.sessions(), 1, "sessions")
    return event["trigger"]


# -- services


def services_change(stage: Stage, workers: int) -> str:
    """Retargeted: what runs stays, who comes next goes there. Removed: its streams end."""
    kept, moved, gone = (stage.service() for _ in range(3))
    udp = Service(stage.suite.ports.take_both(), stage.udp.port, protocol="udp")
    both = [kept, moved, gone, udp]
    name = f"services-{workers}"
    with (
        Live(stage, name, both, workers=workers) as live,
        Pulse(kept.port) as pulse,
        Conversation(moved.port) as old,
        Conversation(gone.port) as ends,
        Client(udp.port) as client,
    ):
        old.say(b"before")
        ends.say(b"before")
        client.try_until_answered(10)
        moved.target_port = stage.other.port
        live.serve(kept, moved)
        reset(ends, "a stream of a service that is gone")
        refused(gone.port, "a new stream")
        with Conversation(moved.port) as new:
            new.say(b"new")
            old.say(b"still there")
            new.finish()
        old.finish()
        targets = {f"127.0.0.1:{port}" for port in (stage.echo.port, stage.other.port)}
        wait_until(
            lambda: (
                {e["target"] for e in live.dest.events("audit.stream", port=moved.port)} == targets
            ),
            10,
            "both targets in the audit",
        )
        ended = live.dest.wait_event("audit.stream", result="ended", port=gone.port)
        check_equal((ended["reason"], ended["bytes_to_target"]), ("no_service", 6), "the end")
        flow = live.dest.wait_event("audit.stream", result="ended", protocol="udp")
        check_equal(flow["reason"], "no_service", "the flow's end")
        label = f'{{service="service-{moved.port}"}}'
        opened = live.metric(live.dest, "utun_streams_opened_total", label)
        check_equal(opened, 2.0, "streams that the service has had")
        live.serve(*both)
        exchange(gone.port, 10_000)
        check_equal(live.sessions(), workers, "sessions")
    return f"slowest answer {pulse.slowest() * 1000:.0f} ms"


def rules_and_limits(stage: Stage) -> None:
    """allowed_clients, allowed_source_ips, limits: at once, for what runs as well."""
    service, named = stage.service(), stage.service()
    with Live(stage, "rules", [service, named]) as live:
        with Conversation(named.port) as ends, Conversation(service.port) as goes_on:
            ends.say(b"before")
            goes_on.say(b"before")
            row = merge(named.table(), {"allowed_clients": ["somebody-else"]})
            live.reload(live.dest, {"dest": {"exposed_services": [service.table(), row]}})
            reset(ends, "a stream of a service that is not its source's any more")
            goes_on.say(b"after")
            live.serve(service, named)
            # As many as there are stay, when fewer are allowed.
            live.reload(live.source, {"source": {"max_connections": 1}})
            refused(named.port, "a client beyond max_connections")
            live.reload(live.source, {"source": {"max_connections": 100}})
            live.reload(live.dest, {"dest": {"max_connections_per_service": 1}})
            refused(service.port, "a stream beyond max_connections_per_service")
            live.reload(live.dest, {"dest": {"max_connections_per_service": 100}})
            exchange(service.port, 10_000)
            goes_on.say(b"and on")
            check_equal(live.sessions(), 1, "sessions")
            nobody = {"connection_filter": {"allowed_source_ips": ["192.0.2.0/24"]}}
            live.reload(live.dest, {"dest": nobody})
            reset(goes_on, "a stream of a source whose address is not allowed any more")
            revoked = live.dest.wait_event("audit.revoked")
            check_equal(revoked["reason"], "not_allowed", "the reason")
            live.dest.wait_event("handshake.refused", error="not_allowed")
        live.reload(live.dest, {"dest": {"connection_filter": {"allowed_source_ips": []}}})
        live.source.wait_event("session.up", count=2, seconds=30)
        exchange(service.port, 10_000)
        live.reload(live.dest, {"logging": {"audit": False, "include_timestamp": False}})
        lines = len(live.dest.events("audit.stream"))
        exchange(service.port, 10_000)
        check("ts" not in live.signal(live.dest), "a time after include_timestamp = false")
        check_equal(len(live.dest.events("audit.stream")), lines, "lines after audit = false")


def a_tunnel_that_waits(stage: Stage) -> None:
    """stream_resume_timeout_secs = 0: what waits for its source already has waited long enough."""
    service = stage.service()
    with Live(stage, "waits", [service]) as live:
        with Conversation(service.port) as talk:
            talk.say(b"before")
            live.reload(live.dest, {"dest": {"stream_resume_timeout_secs": 3600}})
            live.source.popen.kill()
            live.source.wait()
            live.dest.wait_event("session.down", seconds=20)
            check_equal(live.dest.events("tunnel.lost"), [], "streams given up too early")
            live.reload(live.dest, {"dest": {"stream_resume_timeout_secs": 0}})
            live.dest.wait_event("tunnel.lost", seconds=20)
            live.dest.wait_event("audit.stream", seconds=20)
        again = start("source", "waits-again", stage.folder, live.tables[live.source])
        live.pair.source = again
        ready(again)
        exchange(service.port, 10_000)


# -- what is refused


def bad_files(stage: Stage) -> str:
    """Logged with line and column, counted, shown; nothing of it takes effect, by whatever way."""
    service = stage.service()
    taken = socket.create_server(("127.0.0.1", 0))
    with Live(stage, "bad", [service]) as live, Pulse(service.port), taken:
        for process in (live.source, live.dest):
            role = process.argv[1]
            text = toml(live.tables[process])
            wrong = text.replace(f"[{role}]", f"[{role}]\nno_such_key = 1")
            line = wrong.splitlines().index("no_such_key = 1") + 1
            bad = live.refuse(process, wrong)
            check_equal((bad["line"], bad["column"]), (line, 1), "where it is")
            check_equal(bad["file"], str(live.path(process)), "the file")
            check("no_such_key" in bad["detail"], f"what is wrong: {bad['detail']}")
            # It is no TOML at all; it ends in the middle; a certificate is missing.
            live.refuse(process, wrong + "[[[")
            live.refuse(process, text[: len(text) // 2])
            live.refuse(process, text.replace("ca.crt", "no-such-ca.crt"))
            os.unlink(live.path(process))
            live.signal(process, "config.reload_failed")
            shown = live.status(process)
            check_equal((shown["good_total"], shown["failed_total"]), (0, 5), "reloads")
            check_equal(shown["last"]["trigger"], "signal", "trigger")
            check("cannot read" in shown["last"]["reason"], f"the reason: {shown}")
            failed = live.metric(process, "utun_config_reloads_total", '{result="config"}')
            check(failed >= 2, f"{failed} failures counted")
            began = live.metric(process, "utun_config_last_reload_success_timestamp_seconds")
            check(0 <= time.time() - began < 3600, "the time of the configuration in use")
            # Without a signal: a bad file is read once, and a good one sets it right.
            live.write_text(process, wrong)
            process.wait_event("config.reload_failed", trigger="file", line=line, seconds=20)
            live.write(process)
            process.wait_event("config.reloaded", trigger="file", seconds=20)
        # A port that cannot be had: the others that came with it are not taken either.
        new = stage.suite.ports.take()
        ports = [{"port": p} for p in (service.port, new, taken.getsockname()[1])]
        live.tables[live.source]["source"]["exposed_ports"] = ports
        bad = live.refuse(live.source, toml(live.tables[live.source]))
        check_equal(bad["error"], "addr_in_use", "the error")
        check(str(taken.getsockname()[1]) in bad["detail"], f"the port in {bad['detail']}")
        check(not listens(new), "half a configuration has taken effect")
        exchange(service.port, 10_000)
        check_equal(live.sessions(), 1, "sessions")
    return "6 of a source, 6 of a dest, and a port in use"


def what_needs_a_restart(stage: Stage) -> str:
    """It is named in the log and in /status, and stays as it was; the rest takes effect."""
    service = stage.service()
    with Live(stage, "restart", [service]) as live, Pulse(service.port):
        before = live.tables[live.dest]["dest"]["tunnel_port"]
        changes = {"tunnel_port": stage.suite.ports.take(), "workers": 2, "max_tunnels": 7}
        event = live.reload(live.dest, {"dest": changes})
        check_equal(event["changed"], "dest.max_tunnels", "what took effect")
        keys = live.dest.wait_event("config.restart_needed")["keys"]
        check_equal(keys, "dest.tunnel_port, dest.workers", "what did not")
        shown = live.status(live.dest)
        check_equal(shown["needs_restart"], keys.split(", "), "what is shown")
        check_equal(shown["last"]["changed"], ["dest.max_tunnels"], "what is shown")
        check(listens(before) and not listens(changes["tunnel_port"]), "the tunnel's port has moved")
        # Again: they still differ from what is in use, and the rest does not.
        check_equal(live.signal(live.dest)["changed"], "", "changes of the same file")
        check_equal(live.status(live.dest)["needs_restart"], keys.split(", "), "what is shown")
        live.reload(live.dest, {"dest": {"tunnel_port": before, "workers": 1}})
        check_equal(live.status(live.dest)["needs_restart"], [], "what is shown then")
    return keys


# -- the tunnel


def another_dest(stage: Stage) -> None:
    """dest_host or dest_tunnel_port: a session there beside the old one, whose streams may end."""
    service = stage.service()
    with Live(stage, "moves", [service]) as live:
        table = merge(live.tables[live.dest], {"dest": {"tunnel_port": stage.suite.ports.take()}})
        with start("dest", "moves-there", stage.folder, table) as there:
            ready(there)
            with Pulse(service.port) as pulse:
                port = table["dest"]["tunnel_port"]
                live.reload(live.source, {"source": {"dest_tunnel_port": port}})
                there.wait_event("session.up", seconds=20)
                live.source.wait_event("session.up", count=2, seconds=20)
                exchange(service.port, 10_000)
                before = len(pulse.waits)
                wait_until(lambda: len(pulse.waits) > before + 20, 10, "the old stream")
            there.wait_event("audit.stream", result="done")
            live.dest.wait_event("session.down", seconds=20)
            # One that is not there: the session in use goes on.
            nowhere = stage.suite.ports.take()
            with Pulse(service.port):
                live.reload(live.source, {"source": {"dest_tunnel_port": nowhere}})
                live.source.wait_event("session.refresh_failed", seconds=20)
                exchange(service.port, 10_000)
                live.reload(live.source, {"source": {"dest_tunnel_port": port}})
                there.wait_event("session.up", count=2, seconds=20)
                exchange(service.port, 10_000)
            check_equal(len(there.events("tunnel.lost")), 0, "tunnels that were lost")


def another_kem_mode(stage: Stage) -> str:
    """From the next handshake on, and the streams move to it; there and back."""
    service = stage.service()
    often = {"connection_refresh_interval_secs": 1}
    modes = []
    with Live(stage, "kem", [service]) as live, Pulse(service.port):
        for mode in ("hybrid", "mceliece460896", "mlkem768"):
            live.reload(live.dest, {"crypto": {"kem_mode": mode}})
            live.reload(live.source, {"crypto": {"kem_mode": mode}, "source": often})
            up = live.source.wait_event("session.up", kem_mode=mode, seconds=30)
            modes.append(up["kem_mode"])
        exchange(service.port, 10_000)
        live.reload(live.source, {"source": {"connection_refresh_interval_secs": 0}})
    return ", ".join(modes)


# -- many


class Bulk:
    """Streams that are full all the time, in threads of their own; each byte is checked."""

    def __init__(self, port: int, streams: int) -> None:
        self.port = port
        self.over = threading.Event()
        self.errors: list[Exception] = []
        self.sent = 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(streams)]

    def run(self) -> None:
        data = os.urandom(512 * 1024)
        try:
            with Conversation(self.port) as talk:
                while not self.over.is_set():
                    talk.say(data)
                    self.sent += len(data)
                talk.finish()
        except Exception as e:
            self.errors.append(e)

    def __enter__(self) -> Bulk:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(LONGEST)
        if kind is None:
            check(not self.errors, f"streams were lost: {self.errors[:1]}")
            check(not any(t.is_alive() for t in self.threads), "a stream does not end")


@contextlib.contextmanager
def short_ones(port: int) -> Iterator[list[int]]:
    """Connections that come and go all the time; none may fail."""
    over = threading.Event()
    done: list[int] = []
    errors: list[Exception] = []

    def run() -> None:
        while not over.is_set() and not errors:
            try:
                exchange(port, 2000)
                done.append(1)
            except Exception as e:
                errors.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join(LONGEST)
    check(not errors, f"a connection failed: {errors[:1]}")


def many_reloads(stage: Stage, workers: int) -> str:
    """Good and bad in turn, at both ends, under full load: no stream is lost, nothing leaks."""
    kept, short = stage.service(), stage.service()
    come_and_go = stage.service()
    name = f"many-{workers}"
    with (
        Live(stage, name, [kept, short], workers=workers) as live,
        Bulk(kept.port, 4) as bulk,
        Pulse(kept.port) as pulse,
        short_ones(short.port) as done,
    ):
        descriptors = 0
        for number in range(RELOADS // 2):
            more = [kept, short] + [come_and_go] * (number % 2)
            live.serve(*more)
            live.expose(*more)
            limits = {"max_connections": 1000 + number}
            live.reload(live.source, {"source": limits})
            for process in (live.source, live.dest):
                wrong = toml(live.tables[process]) + "\n[no_such_section]\n"
                check(live.refuse(process, wrong)["line"] > 0, "no line")
            if number == 1:
                descriptors = live.source.fd_count()
        good, bad = RELOADS // 2, RELOADS // 2
        live.serve(kept, short)
        live.expose(kept, short)
        for process, extra in ((live.source, good), (live.dest, 0)):
            shown = live.status(process)
            check(shown["good_total"] >= good + extra + 1, f"good reloads: {shown}")
            check(shown["failed_total"] >= bad, f"bad reloads: {shown}")
        check_equal(live.sessions(), workers, "sessions")
        grown = live.source.fd_count() - descriptors
        check(grown < 20, f"{grown} descriptors more than after the first reloads")
    check(done, "no short connection came through")
    mib = bulk.sent / 1024 / 1024
    return (
        f"{RELOADS} at each end, {mib:.0f} MiB each way meanwhile, {len(done)} short connections, "
        f"slowest answer {pulse.slowest() * 1000:.0f} ms"
    )


def main() -> int:
    with (
        Suite("Reload") as suite,
        Echo(suite.folder, suite.ports) as echo,
        Echo(suite.folder, suite.ports, name="other") as other,
        UdpEcho(suite.folder, suite.ports) as udp,
    ):
        stage = Stage(suite, echo, other, udp)
        for workers in (1, 2):
            suite.run(f"ports that come and go, {workers} workers", ports_come_and_go, stage, workers)
            suite.run(f"services that change, {workers} workers", services_change, stage, workers)
        suite.run("the entry point and its users", entry_point_and_users, stage)
        suite.run("rules and limits", rules_and_limits, stage)
        suite.run("a tunnel that waits", a_tunnel_that_waits, stage)
        suite.run("files that are not good", bad_files, stage)
        suite.run("keys that need a restart", what_needs_a_restart, stage)
        suite.run("another dest", another_dest, stage)
        suite.run("another kem_mode", another_kem_mode, stage)
        for workers in (1, 2):
            suite.run(f"many reloads under load, {workers} workers", many_reloads, stage, workers)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
