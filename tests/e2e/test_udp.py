#!/usr/bin/env python3
"""UDP through the tunnel: whole datagrams, to the client that asked, within bounds."""

from __future__ import annotations

import json
import random
import resource
import socket
import struct
import sys
import threading
import urllib.request
from contextlib import ExitStack

from harness import memcheck
from harness.broken import Broken, Stage
from harness.datagrams import LARGEST, Client, UdpEcho
from harness.echo import Conversation, Echo
from harness.process import (
    GROWTH_KIB,
    PATIENCE,
    SANITIZED,
    raise_descriptor_limit,
    wait_until,
)
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, Pair, Service, ready, start

SIZES = (0, 1, 511, 512, 513, 1472, 4077, 4078, 9000, 32_768, LARGEST - 1, LARGEST)


def sizes(port: int, host: str) -> None:
    with Client(port, host) as client:
        for size in SIZES:
            data = client.make(size)
            client.send(data)
            got = client.receive()
            check(got == data, f"{size} bytes came back as {len(got)} other ones")
        check(client.is_silent(), "one datagram too many came")


def both_protocols(port: int) -> None:
    """A port of both is one of each."""
    with Client(port) as client, Conversation(port) as talk:
        client.ask(512)
        talk.say(b"x" * 100_000)
        client.ask(512)
        talk.finish()


def many_clients(port: int, count: int) -> None:
    """Each gets its own answers and nobody else's, in whatever order they are asked for."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(count)]
        for _ in range(5):
            random.shuffle(clients)
            sent = {}
            for client in clients:
                sent[client] = client.make(random.choice((8, 64, 512, 1472)))
                client.send(sent[client])
            for client in clients:
                check(client.receive() == sent[client], "another's answer came, or none")
        check(all(client.is_silent(0.01) for client in clients), "datagrams too many came")


def answers_come_from_the_address_asked(pair: Pair, port: int) -> None:
    """The source listens on every address; a connected client hears only the one it has asked."""
    for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
        with Client(port, host) as client:
            client.ask()
    # One socket that asks two of them has two conversations.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5 * PATIENCE)
        for host in ("127.0.0.1", "127.0.0.2"):
            sock.sendto(host.encode(), (host, port))
            data, sender = sock.recvfrom(100)
            check_equal((data.decode(), sender), (host, (host, port)), "the answer")


class Ear:
    """A target that remembers who has spoken to it."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(5 * PATIENCE)
        self.port = self.sock.getsockname()[1]


def strangers_are_not_heard(stage: Stage) -> None:
    """Only the target itself can answer on a flow's socket."""
    ear = Ear()
    port = stage.suite.ports.take_both()
    service = Service(port, ear.port, protocol="udp")
    with Pair(stage.suite.folder, stage.suite.ports, [service], stage.authority, name="stranger"):
        with Client(port) as client:
            client.send(b"anybody?")
            data, flow = ear.sock.recvfrom(100)
            check_equal(data, b"anybody?", "what the target read")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"me, me", flow)
            check(client.is_silent(), "a stranger was heard")
            ear.sock.sendto(b"the target", flow)
            client.sock.settimeout(5 * PATIENCE)
            check_equal(client.receive(), b"the target", "the answer")


def limits(stage: Stage, echo: UdpEcho) -> None:
    """A newcomer at a limit is refused, said, and counted; who is there goes on; idle ones go."""
    port = stage.suite.ports.take_both()
    service = Service(port, echo.port, protocol="udp")
    for name, source, dest in (
        ("limit-source", {"max_connections": 20, "connection_timeout_ms": 1500}, {}),
        ("limit-dest", {}, {"max_connections_per_service": 20, "connection_timeout_ms": 1500}),
    ):
        with Pair(
            stage.suite.folder,
            stage.suite.ports,
            [service],
            stage.authority,
            name=name,
            source_changes={"source": source},
            dest_changes={"dest": dest | {"stale_cleanup_interval_secs": 1}},
        ) as pair, ExitStack() as stack:
            clients = [stack.enter_context(Client(port)) for _ in range(21)]
            for client in clients[:20]:
                client.ask()
            clients[20].send(b"one too many")
            check(clients[20].is_silent(), f"{name}: the newcomer was served")
            for client in clients[:20]:
                client.ask()
            if source:
                pair.source.wait_event("limit.reached", limit="max_connections")
            else:
                pair.dest.wait_event("stream.refused", error="limit")
            sockets = pair.dest.fd_count()
            for client in clients[:20]:
                check(client.is_silent(0.001), "a datagram too many")
            wait_until(
                lambda: pair.dest.fd_count() <= sockets - 20, 10, "idle flows to be closed"
            )
            clients[20].try_until_answered(10)


def a_full_table(stage: Stage, echo: UdpEcho) -> str:
    """Ten thousand flows at once, each answered, and none beyond."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(500 if memcheck.ON else 2000 if SANITIZED else 10_000, hard - 500)
    # The programs start with the limit that a login shell gives, whatever the test was given. Below
    # memcheck they cannot raise it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    port = stage.suite.ports.take_both()
    service = Service(port, echo.port, protocol="udp")
    patient = {"connection_timeout_ms": 120_000}
    with Pair(
        stage.suite.folder,
        stage.suite.ports,
        [service],
        stage.authority,
        name="full",
        source_changes={"source": patient | {"max_connections": count}},
        dest_changes={"dest": patient | {"max_connections_per_service": count}},
    ) as pair, ExitStack() as stack:
        raise_descriptor_limit()
        before = {p.name: p.rss_kib() for p in (pair.source, pair.dest)}
        clients = [stack.enter_context(Client(port)) for _ in range(count)]
        for first in range(0, count, 100):
            group = clients[first : first + 100]
            sent = [client.make() for client in group]
            for client, data in zip(group, sent):
                client.send(data)
            for client, data in zip(group, sent):
                check(client.receive() == data, "another's answer came")
        with Client(port) as beyond:
            beyond.send(b"one too many")
            check(beyond.is_silent(), "there is no bound")
        pair.source.wait_event("limit.reached", limit="max_connections")
        for client in random.sample(clients, 100):
            client.ask()
        grown = {p.name: p.rss_kib() - before[p.name] for p in (pair.source, pair.dest)}
        bound = GROWTH_KIB if SANITIZED else count * 4  # a sanitizer's own notes count, too
        check(max(grown.values()) < bound, f"memory grew by {grown} KiB")
        return f"{count} flows, memory grew by {max(grown.values()) // 1024} MiB at most"


def short_flows(stage: Stage, echo: UdpEcho) -> str:
    """One after another, many more than are ever open at once: memory stays where it is after the
    first tenth."""
    count = 200_000 if LONG else 5_000 if SANITIZED else 20_000
    port = stage.suite.ports.take_both()
    service = Service(port, echo.port, protocol="udp")
    hasty = {"connection_timeout_ms": 300}
    with Pair(
        stage.suite.folder,
        stage.suite.ports,
        [service],
        stage.authority,
        name="short",
        source_changes={"source": hasty},
        dest_changes={
            "dest": hasty | {"max_connections_per_service": 10_000, "stale_cleanup_interval_secs": 1}
        },
    ) as pair:
        both = (pair.source, pair.dest)
        after_a_tenth: dict[str, int] = {}
        before = pair.dest.fd_count()
        asked = 0
        for number in range(count):
            # Each has an address of its own, for the kernel gives ports again soon.
            with Client(port, source=f"127.1.{number >> 8 & 255}.{number & 255}") as client:
                # A flow that may be idle for so short a time can end under a late answer.
                asked += client.try_until_answered(20)
            if number == count // 10:
                after_a_tenth = {p.name: p.rss_kib() for p in both}
        grown = {p.name: p.rss_kib() - after_a_tenth[p.name] for p in both}
        check(max(grown.values()) < GROWTH_KIB, f"memory grew by {grown} KiB")
        wait_until(lambda: pair.dest.fd_count() <= before, 10, "the last flows to be closed")
        pair.dest.wait_event("audit.stream", seconds=60, count=count)
        flows = len(pair.dest.events("audit.stream"))
        check(count <= flows <= asked, f"{flows} flows of {count} clients, {asked} questions")
        return f"{flows} flows, then {max(grown.values())} KiB more than after the first tenth"


def a_dead_target_comes_back(stage: Stage) -> None:
    """The client asks on, as clients do; the flow that was refused finds the target again."""
    for host in ("127.0.0.1", "localhost"):
        ear = Ear()
        target = ear.port
        ear.sock.close()
        port = stage.suite.ports.take_both()
        service = Service(port, target, target=host, protocol="udp")
        with Pair(
            stage.suite.folder, stage.suite.ports, [service], stage.authority, name=f"dead-{host}"
        ), Client(port) as client:
            for _ in range(3):
                client.send(client.make())
                check(client.is_silent(0.1), "nobody answered")
            again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            again.bind(("127.0.0.1", target))
            over = threading.Event()

            def serve() -> None:
                again.settimeout(0.1)
                while not over.is_set():
                    try:
                        data, sender = again.recvfrom(LARGEST)
                    except TimeoutError:
                        continue
                    again.sendto(data, sender)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            client.try_until_answered(10)
            over.set()
            thread.join()
            again.close()


def no_such_service(stage: Stage, echo: UdpEcho) -> None:
    """A port of TCP is none of UDP, at the dest too."""
    port = stage.suite.ports.take_both()
    service = Service(port, echo.port)
    with Pair(
        stage.suite.folder,
        stage.suite.ports,
        [service],
        stage.authority,
        name="none",
        source_changes={"source": {"exposed_ports": [{"port": port, "protocol": "both"}]}},
    ) as pair, Client(port) as client:
        client.send(b"is there anybody?")
        check(client.is_silent(), "somebody answered")
        refused = pair.dest.wait_event("stream.refused", error="no_service")
        check(refused["detail"].endswith("this port for UDP"), refused["detail"])
        pair.source.wait_event("stream.refused", error="no_service")


def everything_is_counted(stage: Stage, echo: UdpEcho) -> None:
    """By service, direction and reason, on the admin endpoints of both."""
    port = stage.suite.ports.take_both()
    dead = Service(stage.suite.ports.take_both(), stage.suite.ports.take_both(), protocol="udp")
    service = Service(port, echo.port, protocol="udp")
    pages = [stage.suite.ports.take() for _ in range(2)]
    metrics = [{"metrics": {"enabled": True, "metrics_port": page}} for page in pages]
    with Pair(
        stage.suite.folder,
        stage.suite.ports,
        [service, dead],
        stage.authority,
        name="counted",
        source_changes=metrics[0],
        dest_changes=metrics[1],
    ), Client(port) as client, Client(dead.port) as other:
        for _ in range(5):
            client.ask(100)
        other.send(b"nobody is there")

        def page(number: int) -> str:
            url = f"http://127.0.0.1:{pages[number]}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()

        name = service.table()["name"]
        for number, label in ((0, port), (1, name)):
            wanted = [
                f"\n{metric} {value}\n"
                for metric, value in (
                    (f'utun_flows{{service="{label}"}}', 1),
                    (f'utun_flows_opened_total{{service="{label}"}}', 1),
                    (f'utun_datagrams_total{{service="{label}",direction="to_target"}}', 5),
                    (f'utun_datagrams_total{{service="{label}",direction="to_client"}}', 5),
                    (f'utun_datagram_bytes_total{{service="{label}",direction="to_client"}}', 500),
                )
            ]
            # The client may hear of a datagram before it is counted.
            wait_until(
                lambda: not [line for line in wanted if line not in page(number)],
                5,
                f"{wanted} in {page(number)}",
            )
        refused = 'reason="target_refused"} 1\n'
        name = dead.table()["name"]
        for line in (
            f"\nutun_datagrams_dropped_total{{{refused}",
            f'\nutun_service_datagrams_dropped_total{{service="{name}",{refused}',
        ):
            wait_until(lambda line=line: line in page(1), 5, f"{line} to be counted")
        with urllib.request.urlopen(f"http://127.0.0.1:{pages[1]}/status", timeout=10) as answer:
            status = json.load(answer)
        drops = {row["name"]: row["dropped"] for row in status["services"]}
        check_equal(drops[name], {"target_refused": 1}, "drops in /status")
        check_equal(drops[service.table()["name"]], {}, "drops of the other service")
        check_equal(status["dropped"], {"target_refused": 1}, "drops of all")


# -- sessions


class Stream:
    """A client that sends all the time, in a thread, and notes which numbers come back."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", port))
        self.sock.settimeout(0.05)
        self.sent = 0
        self.came: list[int] = []
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=call, daemon=True) for call in (self.send, self.hear)
        ]

    def send(self) -> None:
        while not self.over.wait(0.001 * PATIENCE):
            self.sent += 1
            self.sock.send(struct.pack("!I", self.sent) * 100)

    def hear(self) -> None:
        while True:
            try:
                data = self.sock.recv(2000)
            except TimeoutError:
                if self.over.is_set():
                    return
                continue
            number = struct.unpack("!I", data[:4])[0]
            if data != struct.pack("!I", number) * 100:
                number = -1
            self.came.append(number)

    def __enter__(self) -> Stream:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.sock.close()

    def check(self) -> None:
        check(-1 not in self.came, "a datagram was altered")
        check_equal(len(self.came), len(set(self.came)), "datagrams, each once,")
        check(self.came == sorted(self.came), "datagrams have changed places")

    def wait_more(self) -> None:
        """It goes on, much longer than a session takes to come back."""
        upto = self.sent + 500
        wait_until(lambda: self.came and self.came[-1] > upto, 10, "datagrams to come again")


def survives_cuts(stage: Stage, echo: UdpEcho, how: str) -> str:
    """What is on its way when the session dies is lost, and nothing else; nothing comes twice."""
    service = Service(stage.suite.ports.take_both(), echo.port, protocol="udp")
    with Broken(stage, f"udp-{how}", more=[service]) as broken:
        with Stream(service.port) as stream:
            stream.wait_more()
            for _ in range(3):
                ups = broken.ups()
                broken.relay.do(how)
                broken.wait_ups(ups)
                stream.wait_more()
        stream.check()
        lost = stream.sent - len(stream.came)
        # Below memcheck it takes seconds until a session is back.
        check(lost < stream.sent / 2 or memcheck.ON, f"{lost} of {stream.sent} datagrams were lost")
        return f"{lost} of {stream.sent} datagrams lost in 3 cuts"


def survives_a_dest_that_restarts(stage: Stage, echo: UdpEcho) -> None:
    port = stage.suite.ports.take_both()
    service = Service(port, echo.port, protocol="udp")
    with Pair(
        stage.suite.folder, stage.suite.ports, [service], stage.authority, name="restart"
    ) as pair, Client(port) as client:
        client.ask()
        pair.dest.stop()
        client.send(client.make())
        pair.dest = start("dest", "restart-dest-2", stage.suite.folder, pair.dest_table)
        ready(pair.dest)
        client.try_until_answered(20)


# -- all


def main() -> int:
    with Suite("UDP") as suite:
        authority = Authority(suite.folder, "ca", "ed25519")
        stage = Stage(suite, authority, None, None)
        with UdpEcho(suite.folder, suite.ports) as echo, Echo(
            suite.folder, suite.ports, name="tcp"
        ) as tcp, UdpEcho(suite.folder, suite.ports, "::1", "udp-echo-6") as echo6:
            stage.echo = tcp
            stage.nginx = tcp
            twin = suite.ports.take_both()
            for workers in (1, 2):
                services = [
                    Service(suite.ports.take_both(), echo.port, protocol="udp"),
                    Service(suite.ports.take_both(), echo6.port, "::1", protocol="udp"),
                    Service(twin, tcp.port, protocol="tcp"),
                ]
                changes = {"workers": workers, "max_connections_per_service": 1000}
                with Pair(
                    suite.folder,
                    suite.ports,
                    services,
                    authority,
                    name=f"udp-{workers}",
                    source_changes={"source": {"listen_ip": "::", "workers": workers}},
                    dest_changes={"dest": changes},
                ) as pair:
                    first, second = services[0].port, services[1].port
                    name = f"{workers} worker{'s' if workers > 1 else ''}"
                    suite.run(f"sizes over IPv4, {name}", sizes, first, "127.0.0.1")
                    suite.run(f"sizes over IPv6, {name}", sizes, second, "::1")
                    suite.run(f"many clients, {name}", many_clients, first, 300)
                    suite.run(
                        f"answers from the address asked, {name}",
                        answers_come_from_the_address_asked,
                        pair,
                        first,
                    )
            both = Service(suite.ports.take_both(), tcp.port, protocol="tcp")
            also = Service(both.port, echo.port, protocol="udp")
            also_table = also.table() | {"name": "also"}
            with Pair(
                suite.folder,
                suite.ports,
                [both],
                authority,
                name="both",
                source_changes={
                    "source": {"exposed_ports": [{"port": both.port, "protocol": "both"}]}
                },
                dest_changes={"dest": {"exposed_services": [both.table(), also_table]}},
            ):
                suite.run("TCP and UDP on one port", both_protocols, both.port)
            suite.run("strangers are not heard", strangers_are_not_heard, stage)
            suite.run("limits, and idle flows", limits, stage, echo)
            suite.run("a full table of flows", a_full_table, stage, echo)
            suite.run("many short flows", short_flows, stage, echo)
            suite.run("a dead target comes back", a_dead_target_comes_back, stage)
            suite.run("a port of TCP is none of UDP", no_such_service, stage, echo)
            suite.run("everything is counted", everything_is_counted, stage, echo)
            suite.run("cuts by FIN", survives_cuts, stage, echo, "fin")
            suite.run("cuts by RST", survives_cuts, stage, echo, "rst")
            suite.run("a dest that restarts", survives_a_dest_that_restarts, stage, echo)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
