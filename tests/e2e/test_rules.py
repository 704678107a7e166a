#!/usr/bin/env python3
"""Who may use what: rules by certificate, revocation while streams run, limits, the audit trail."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.datagrams import Client, UdpEcho
from harness.echo import Conversation, Echo
from harness.process import PATIENCE, Process, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    Authority,
    Identity,
    Service,
    dest_config,
    merge,
    ready,
    source_config,
    start,
    toml,
)

# "Within seconds": files are looked at once a second.
SOON = 4.0


class Revoker:
    """CRLs of an authority, made by openssl."""

    def __init__(self, authority: Authority) -> None:
        self.folder = authority.folder
        self.path = self.folder / "ca.crl"
        (self.folder / "index.txt").touch()
        (self.folder / "openssl.cnf").write_text(
            "[ca]\ndefault_ca=us\n[us]\ndatabase=index.txt\ncertificate=ca.crt\n"
            "private_key=ca.key\ndefault_md=sha256\ndefault_crl_days=3\n"
        )
        self.publish()

    def openssl(self, *words: object) -> None:
        argv = ["openssl", "ca", "-config", "openssl.cnf", *map(str, words)]
        run(argv, cwd=self.folder)

    def publish(self) -> None:
        """In one step, as a careful program does."""
        self.openssl("-gencrl", "-out", "next.crl")
        os.replace(self.folder / "next.crl", self.path)

    def revoke(self, identity: Identity) -> None:
        self.openssl("-revoke", identity.cert)
        self.publish()


class Stage:
    def __init__(self, suite: Suite, echo: Echo) -> None:
        self.suite = suite
        self.folder = suite.folder
        self.echo = echo
        self.authority = Authority(suite.folder, algorithm="ecdsa-p256")

    def service(self) -> Service:
        return Service(self.suite.ports.take(), self.echo.port)


class Dest:
    """A dest, and any number of sources with certificates of their own."""

    def __init__(self, stage: Stage, name: str, services: list[Service], **changes: dict) -> None:
        self.stage = stage
        self.name = name
        self.services = services
        self.port = stage.suite.ports.take()
        self.table = merge(
            dest_config(self.port, services, stage.authority),
            merge({"dest": {"handshake_rate_limit": 0}}, changes),
        )
        self.stack = contextlib.ExitStack()

    def rule(self, index: int, *patterns: str) -> None:
        self.table["dest"]["exposed_services"][index]["allowed_clients"] = list(patterns)

    def write(self) -> None:
        path = self.stage.folder / f"{self.name}.toml"
        path.with_suffix(".next").write_text(toml(self.table))
        os.replace(path.with_suffix(".next"), path)

    def __enter__(self) -> Dest:
        self.process = self.stack.enter_context(
            start("dest", self.name, self.stage.folder, self.table)
        )
        ready(self.process)
        return self

    def source(self, identity: Identity, name: str, changes: dict | None = None) -> Source:
        return self.stack.enter_context(Source(self, identity, name, changes or {}))

    def __exit__(self, *error: object) -> None:
        self.stack.__exit__(*error)


class Source:
    """It listens on ports of its own, which stand for the dest's services: one for each."""

    def __init__(self, dest: Dest, identity: Identity, name: str, changes: dict) -> None:
        ports = [service.port for service in dest.services]
        table = source_config(dest.port, ports, dest.stage.authority, changes)
        # Several sources of one machine, each with an address of its own for the same ports.
        self.host = f"127.0.1.{len(dest.stack._exit_callbacks) + 1}"
        table["source"]["listen_ip"] = self.host
        table["auth"]["client_cert_path"] = identity.cert
        table["auth"]["client_key_path"] = identity.key
        self.daemon = start("source", f"{dest.name}-{name}", dest.stage.folder, table)

    def __enter__(self) -> Source:
        self.daemon.__enter__()
        ready(self.daemon)
        return self

    def __exit__(self, *error: object) -> None:
        self.daemon.__exit__(*error)

    def talk(self, service: Service) -> Conversation:
        return Conversation(service.port, self.host)


def reset_soon(talk: Conversation, what: str) -> float:
    """The connection has to end with a RST; after how many seconds."""
    began = time.monotonic()
    talk.sock.settimeout(SOON)
    with contextlib.suppress(ConnectionResetError):
        got = talk.sock.recv(1)
        raise AssertionError(f"{what}: {got!r} instead of a reset")
    return time.monotonic() - began


def works(source: Source, service: Service, word: bytes = b"hello") -> None:
    with source.talk(service) as talk:
        talk.say(word)
        talk.finish()


def refused(source: Source, service: Service, what: str) -> None:
    try:
        talk = source.talk(service)
    except ConnectionResetError:
        return
    with talk:
        reset_soon(talk, what)


# -- rules


def audited(dest: Dest, count: int) -> list[dict] | None:
    """The audit lines of streams, once there are so many: they come when a stream has ended."""
    lines = dest.process.events("audit.stream")
    return lines if len(lines) >= count else None


def rules_by_name(stage: Stage) -> str:
    """Common name, DNS name, URI, wildcard: each lets in whom it names and nobody else."""
    a = stage.authority
    by_cn = a.issue("client", "edge-1")
    by_dns = a.issue("client", "dns-client", "--dns-names", "paris.edge.example.org")
    by_uri = a.issue("client", "uri-client", "--uri", "spiffe://example.org/edge/3")
    stranger = a.issue("client", "stranger", "--dns-names", "a.b.edge.example.org")
    services = [stage.service() for _ in range(4)]
    dest = Dest(stage, "names", services)
    dest.rule(0, "edge-1")
    dest.rule(1, "*.edge.example.org")
    dest.rule(2, "nobody", "spiffe://example.org/edge/3")
    sources = {"cn": by_cn, "dns": by_dns, "uri": by_uri, "stranger": stranger}
    allowed = {"cn": {0, 3}, "dns": {1, 3}, "uri": {2, 3}, "stranger": {3}}
    with dest:
        for name, identity in sources.items():
            source = dest.source(identity, name)
            for index, service in enumerate(services):
                if index in allowed[name]:
                    works(source, service)
                else:
                    refused(source, service, f"{name} at service {index}")
        lines = wait_until(lambda: audited(dest, 7 + 9), 5, "an audit line for each")
        check_equal(len([e for e in lines if e["result"] == "done"]), 7, "admissions")
        check_equal(len([e for e in lines if e["result"] == "refused"]), 9, "refusals")
    return "7 admitted, 9 refused"


def rule_changes(stage: Stage) -> str:
    """A rule that no longer allows a source ends its streams to that service, and only these."""
    services = [stage.service(), stage.service()]
    one, two = (stage.authority.issue("client", name) for name in ("edge-1", "edge-2"))
    dest = Dest(stage, "change", services)
    dest.rule(0, "edge-1", "edge-2")
    with dest:
        first, second = dest.source(one, "one"), dest.source(two, "two")
        with (
            first.talk(services[0]) as ends,
            first.talk(services[1]) as other_service,
            second.talk(services[0]) as other_source,
        ):
            talks = [ends, other_service, other_source]
            for talk in talks:
                talk.say(b"before")
            dest.rule(0, "edge-2")
            dest.write()
            seconds = reset_soon(ends, "a stream that is no longer allowed")
            refused(first, services[0], "a new stream")
            other_service.say(b"after")
            other_source.say(b"after")
            ended = dest.process.wait_event("audit.stream", result="ended")
            check_equal(ended["reason"], "not_allowed", "reason")
            check_equal(ended["peer"], "edge-1", "who")
            check_equal(ended["bytes_to_target"], 6, "bytes")
            # A bad file changes nothing, and says where it is bad.
            dest.rule(0, "edge-*")
            dest.write()
            bad = dest.process.wait_event("config.reload_failed")
            check(bad["line"] > 0, f"no line in {bad}")
            other_source.say(b"still")
            dest.rule(0)
            dest.write()
            dest.process.wait_event("config.reloaded", count=2)
            works(first, services[0])
            check_equal(len(dest.process.events("session.up")), 2, "sessions")
    return f"ended after {seconds:.1f} s"


# -- revocation


def revocation(stage: Stage) -> str:
    """A revoked source loses its sessions and streams; it cannot come back; others go on."""
    revoker = Revoker(stage.authority)
    service = stage.service()
    bad, good = (stage.authority.issue("client", name) for name in ("lost-laptop", "edge-2"))
    dest = Dest(stage, "revoke", [service], auth={"crl_path": revoker.path})
    with dest:
        revoked = dest.source(bad, "bad", {"source": {"initial_reconnect_delay_ms": 100}})
        kept = dest.source(good, "good")
        with revoked.talk(service) as ends, kept.talk(service) as goes_on:
            ends.say(b"before")
            goes_on.say(b"before")
            began = time.monotonic()
            revoker.revoke(bad)
            reset_soon(ends, "a stream of a revoked source")
            seconds = time.monotonic() - began
            goes_on.say(b"after")
            event = dest.process.wait_event("audit.revoked")
            check_equal(event["reason"], "cert_revoked", "reason")
            check_equal(event["peer"], "lost-laptop", "who")
            check_equal(event["streams"], 1, "streams")
            dest.process.wait_event("session.down", reason="cert_revoked")
            line = dest.process.wait_event("audit.stream", result="ended")
            check_equal((line["reason"], line["bytes_to_target"]), ("cert_revoked", 6), "audit")
            revoked.daemon.wait_event("handshake.failed", error="cert_refused")
            dest.process.wait_event("handshake.failed", error="cert_revoked")
            goes_on.say(b"and on")
            goes_on.finish()
            check_equal(len(dest.process.events("session.up", peer="edge-2")), 1, "its sessions")
    return f"ended {seconds:.1f} s after openssl was asked"


# -- the audit trail


def audit(stage: Stage) -> str:
    """One line for each stream: who, what, the result, bytes both ways, how long."""
    nobody = Service(stage.suite.ports.take(), stage.suite.ports.take())
    service = stage.service()
    identity = stage.authority.issue("client", "edge-1")
    dest = Dest(stage, "audit", [service, nobody], dest={"target_connect_timeout_ms": 100})
    with dest:
        source = dest.source(identity, "one")
        with source.talk(service) as talk:
            client = talk.sock.getsockname()
            talk.say(b"x" * 1000)
            time.sleep(0.2)
            check_equal(dest.process.events("audit.stream"), [], "lines while it runs")
            talk.finish()
        line = dest.process.wait_event("audit.stream")
        shown = run(["openssl", "x509", "-in", identity.cert, "-noout", "-fingerprint", "-sha256"])
        print_ = shown.stdout.strip().partition("=")[2].replace(":", "").lower()
        wanted = {
            "result": "done",
            "reason": "ok",
            "peer": "edge-1",
            "fingerprint": print_,
            "client": f"{client[0]}:{client[1]}",
            "protocol": "tcp",
            "service": f"service-{service.port}",
            "port": service.port,
            "target": f"127.0.0.1:{stage.echo.port}",
            "bytes_to_target": 1000,
            "bytes_from_target": 1000,
        }
        for key, value in wanted.items():
            check_equal(line[key], value, key)
        check(line["address"].startswith("127.0.0.1:"), f"address {line['address']}")
        check(200 <= line["duration_ms"] < 60_000, f"duration {line['duration_ms']}")
        refused(source, nobody, "a target that is down")
        line = dest.process.wait_event("audit.stream", result="failed")
        check_equal((line["reason"], line["bytes_to_target"]), ("refused", 0), "the dead target")
        check(line["duration_ms"] >= 99, f"it was waited for {line['duration_ms']} ms")
    quiet = Dest(stage, "quiet", [service], logging={"audit": False})
    with quiet:
        works(quiet.source(identity, "one"), service)
        time.sleep(0.2)
        check_equal(quiet.process.events("audit.stream"), [], "lines with audit = false")
    return "done, failed; none with audit = false"


class Flows:
    """The audit lines of UDP at a dest: each flow has one, when it is refused or over."""

    def __init__(self, dest: Dest) -> None:
        self.dest = dest
        self.seen = 0

    def next(self, wanted: dict, what: str) -> dict:
        """The next line has these fields; there is no second one for the same flow."""
        lines = wait_until(lambda: audited(self.dest, self.seen + 1), 20, f"a line for {what}")
        for key, value in wanted.items():
            check_equal(lines[self.seen][key], value, f"{key} of {what}")
        self.seen += 1
        return lines[self.seen - 1]


def udp_service(stage: Stage, target_port: int, target: str = "127.0.0.1") -> Service:
    return Service(stage.suite.ports.take_both(), target_port, target, "udp")


def audit_of_flows(stage: Stage) -> str:
    """One line for each flow: admitted, refused, failed, ended by a rule."""
    timeout = {"connection_timeout_ms": 1000}
    with UdpEcho(stage.folder, stage.suite.ports) as echo:
        works, ruled, small = (udp_service(stage, echo.port) for _ in range(3))
        no_name = udp_service(stage, 9, "no-such-name.invalid")
        tcp_only = Service(stage.suite.ports.take_both(), stage.echo.port)
        services = [works, ruled, small, no_name, tcp_only]
        dest = Dest(
            stage,
            "flows",
            services,
            dest={**timeout, "stale_cleanup_interval_secs": 1, "max_connections_per_service": 2},
        )
        dest.rule(1, "nobody")
        rows = [{"port": service.port, "protocol": "udp"} for service in services]
        with dest:
            changes = {"source": {**timeout, "exposed_ports": rows}}
            identity = stage.authority.issue("client", "edge-1")
            source = dest.source(identity, "one", changes)
            flows = Flows(dest)
            began = time.monotonic()
            with Client(works.port, source.host) as client:
                for _ in range(3):
                    client.send(client.make(100))
                for _ in range(3):
                    client.receive()
                host, port = client.sock.getsockname()
                line = flows.next(
                    {
                        "result": "done",
                        "reason": "timeout",
                        "peer": "edge-1",
                        "client": f"{host}:{port}",
                        "protocol": "udp",
                        "service": f"service-{works.port}",
                        "port": works.port,
                        "target": f"127.0.0.1:{echo.port}",
                        "bytes_to_target": 300,
                        "bytes_from_target": 300,
                    },
                    "a flow that was served",
                )
                seconds = time.monotonic() - began
                check(900 < line["duration_ms"] <= seconds * 1000, f"{line} in {seconds:.1f} s")
                # The client's next datagram begins another flow.
                client.ask(50)
                flows.next({"result": "done", "bytes_to_target": 50}, "the same client again")
            for service, result, reason, name in (
                (ruled, "refused", "not_allowed", f"service-{ruled.port}"),
                (tcp_only, "refused", "no_service", ""),
                (no_name, "failed", "resolve", f"service-{no_name.port}"),
            ):
                with Client(service.port, source.host) as client:
                    client.send(client.make())
                    wanted = {"result": result, "reason": reason, "bytes_from_target": 0}
                    wanted |= {"service": name, "port": service.port, "protocol": "udp"}
                    flows.next(wanted, reason)
            with (
                Client(small.port, source.host) as one,
                Client(small.port, source.host) as two,
                Client(small.port, source.host) as three,
            ):
                one.ask()
                two.ask()
                three.send(three.make())
                flows.next({"result": "refused", "reason": "limit"}, "one too many")
                for _ in (one, two):
                    flows.next({"result": "done", "reason": "timeout"}, "those two")
            # What is running when a rule changes.
            with Client(works.port, source.host) as client:
                client.ask(70)
                dest.rule(0, "nobody")
                dest.write()

                def ended() -> bool:
                    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                        client.sock.settimeout(0.1)
                        client.ask(70)
                    lines = dest.process.events("audit.stream", result="ended")
                    return len(lines) == 1

                wait_until(ended, 20, "the flow to be ended")
                line = dest.process.events("audit.stream", result="ended")[0]
                check_equal((line["reason"], line["protocol"]), ("not_allowed", "udp"), "the end")
                check(line["bytes_to_target"] >= 70, f"bytes of {line}")
        lines = dest.process.events("audit.stream")
        done = [line for line in lines if line["result"] == "done"]
        check_equal(len(done), 4, f"flows that were served, of {lines}")
    return f"{len(lines)} lines"


# -- limits


@contextlib.contextmanager
def many(source: Source, service: Service, count: int) -> Iterator[list[Conversation]]:
    """Up to `count` conversations; those that are let in."""
    with contextlib.ExitStack() as stack:
        talks = []
        for _ in range(count):
            try:
                talk = stack.enter_context(source.talk(service))
                talk.say(b"in")
            except ConnectionResetError:
                continue
            talks.append(talk)
        yield talks


def limit_of_a_service(stage: Stage) -> str:
    """At max_connections_per_service the newcomer is refused at once; what runs goes on."""
    services = [stage.service(), stage.service()]
    dest = Dest(stage, "limit", services, dest={"max_connections_per_service": 20})
    with dest:
        source = dest.source(stage.authority.issue("client", "edge-1"), "one")
        with many(source, services[0], 60) as talks:
            check_equal(len(talks), 20, "admitted")
            works(source, services[1])
            for talk in talks:
                talk.say(b"still")
            dest.process.wait_event("audit.stream", count=40, result="refused")
            lines = dest.process.events("audit.stream", result="refused")
            check_equal([line["reason"] for line in lines], ["limit"] * 40, "refusals")
            warned = len(dest.process.events("stream.refused"))
            check(0 < warned < 40, f"{warned} warnings: they are not limited")
        wait_until(
            lambda: len(dest.process.events("audit.stream", result="done")) == 21, 5, "the ends"
        )
        with many(source, services[0], 20) as talks:
            check_equal(len(talks), 20, "admitted again")
    return f"20 of 60; {warned} warnings"


def greedy_source(stage: Stage) -> str:
    """A source that takes all it can get leaves another its share."""
    service = stage.service()
    dest = Dest(stage, "greedy", [service], dest={"max_connections_per_service": 40})
    names = ("edge-1", "edge-2")
    with dest:
        greedy, modest = (
            dest.source(stage.authority.issue("client", name), name) for name in names
        )
        with many(greedy, service, 60) as most:
            check_equal(len(most), 30, "the greedy one's")
            with many(modest, service, 60) as rest:
                check_equal(len(rest), 10, "the other's")
                for talk in most + rest:
                    talk.say(b"on")
    return "30 and 10 of 40"


def connected(source: Source, port: int, target: int, count: int) -> list[socket.socket]:
    """Up to `count` connections to a host of the client's own choice; those that are let in."""
    request = f"CONNECT 127.0.0.1:{target} HTTP/1.1\r\nHost: 127.0.0.1:{target}\r\n\r\n".encode()
    admitted = []
    for _ in range(count):
        sock = socket.create_connection((source.host, port), timeout=20 * PATIENCE)
        sock.sendall(request)
        said = b""
        while not said.endswith(b"\r\n\r\n") and (piece := sock.recv(1000)):
            said += piece
        if said.startswith(b"HTTP/1.1 200 "):
            admitted.append(sock)
        else:
            sock.close()
    return admitted


def greedy_source_of_hosts(stage: Stage) -> str:
    """What a source takes of the hosts that clients name leaves another its share, too."""
    loopback = {"allowed_ips": ["127.0.0.0/8"]}
    dest = Dest(stage, "hosts", [], dest={"allowed_targets": loopback | {"max_connections": 40}})
    port = stage.suite.ports.take()
    entry = {
        "source": {
            "mode": "protocol",
            "listen_port": port,
            "exposed_ports": None,
            "allowed_outbound": loopback,
        }
    }
    names = ("edge-1", "edge-2")
    with dest, contextlib.ExitStack() as stack:
        greedy, modest = (
            dest.source(stage.authority.issue("client", name), name, entry) for name in names
        )
        most = connected(greedy, port, stage.echo.port, 60)
        rest = connected(modest, port, stage.echo.port, 60)
        for sock in most + rest:
            stack.enter_context(sock)
        check_equal((len(most), len(rest)), (30, 10), "connections of the two")
        refused = {"result": "refused", "reason": "limit"}
        dest.process.wait_event("audit.stream", count=30 + 50, **refused)
        lines = dest.process.events("audit.stream", **refused)
        check_equal(len(lines), 30 + 50, "refusals in the audit trail")
        for sock in most + rest:
            sock.sendall(b"on")
            check_equal(sock.recv(2), b"on", "what came back")
    return "30 and 10 of 40"


def limit_of_a_source(stage: Stage) -> str:
    """max_connections of a source: refused at once, logged, and nothing else suffers."""
    service = stage.service()
    with Dest(stage, "clients", [service]) as dest:
        identity = stage.authority.issue("client", "edge-1")
        source = dest.source(identity, "one", {"source": {"max_connections": 10}})
        with many(source, service, 30) as talks:
            check_equal(len(talks), 10, "admitted")
            source.daemon.wait_event("limit.reached", limit="max_connections", value=10)
            for talk in talks:
                talk.say(b"still")
    return "10 of 30"


def handshakes_in_flight(stage: Stage) -> str:
    """One address that begins handshakes and finishes none leaves room for others."""
    service = stage.service()
    dest = Dest(stage, "flood", [service], dest={"max_handshakes": 8})
    with dest, contextlib.ExitStack() as stack:
        held = []
        for _ in range(30):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.9", 0))
            sock.connect(("127.0.0.1", dest.port))
            sock.settimeout(0.2)
            try:
                check_equal(sock.recv(1), b"", "what a stranger is told")
            except TimeoutError:
                held.append(sock)
            except ConnectionResetError:
                continue
        check_equal(len(held), 2, "of one address")
        dest.process.wait_event("handshake.refused", error="limit")
        source = dest.source(stage.authority.issue("client", "edge-1"), "one")
        works(source, service)
    return "2 of 8 for one address"


def main() -> int:
    with Suite("Who may do what") as suite, Echo(suite.folder, suite.ports) as echo:
        stage = Stage(suite, echo)
        suite.run("rules by certificate name", rules_by_name, stage)
        suite.run("a rule that changes under running streams", rule_changes, stage)
        suite.run("a certificate that is revoked under running streams", revocation, stage)
        suite.run("one audit line for each stream", audit, stage)
        suite.run("one audit line for each flow", audit_of_flows, stage)
        suite.run("max_connections_per_service", limit_of_a_service, stage)
        suite.run("a greedy source beside another", greedy_source, stage)
        suite.run("and of the hosts that clients name", greedy_source_of_hosts, stage)
        suite.run("max_connections of a source", limit_of_a_source, stage)
        suite.run("handshakes in flight of one address", handshakes_in_flight, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
