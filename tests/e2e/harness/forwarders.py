"""Programs that forward TCP, each started as a pair the way its users would, behind one interface.

A route is a port where clients connect and the port of the target behind it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.ports import Ports
from harness.process import Process, run
from harness.servers import Sshd
from harness.utun import Authority, Pair, Service


@dataclass
class Route:
    listen: int
    target: int


class Forwarder:
    """Starts with `with`, stops at its end. Without processes of its own it is a direct path."""

    name = "direct"

    def __init__(self, folder: Path, ports: Ports, routes: list[Route]) -> None:
        self.folder = folder / self.name.replace(" ", "-")
        self.folder.mkdir()
        self.ports = ports
        self.routes = routes
        self.processes: list[Process] = []

    def entry(self, route: Route) -> int:
        """The port where a client connects."""
        return route.target

    def unknown_entry(self) -> int | None:
        """A port whose service the far side does not know, where the program has such a thing."""
        return None

    def start(self) -> None:
        pass

    def spawn(self, name: str, *argv: str | Path) -> Process:
        process = Process(f"{self.folder.name}-{name}", list(argv), self.folder)
        self.processes.append(process)
        return process

    def write(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def __enter__(self) -> Forwarder:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop(seconds=2)


class Utun(Forwarder):
    name = "utun"

    def start(self) -> None:
        services = [Service(route.listen, route.target) for route in self.routes]
        self.unknown = self.ports.take()
        self.pair = Pair(
            self.folder,
            self.ports,
            services,
            Authority(self.folder),
            extra_exposed=[self.unknown],
            dest_changes={
                "dest": {"max_connections_per_service": 4000, "target_connect_timeout_ms": 1500}
            },
        )
        try:
            self.pair.__enter__()
        finally:
            self.processes += [p for p in (self.pair.dest, self.pair.source) if p]

    def stop(self) -> None:
        self.pair.stop()

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.pair.__exit__(kind)

    def entry(self, route: Route) -> int:
        return route.listen

    def unknown_entry(self) -> int | None:
        return self.unknown


class Ssh(Forwarder):
    name = "ssh -L"

    def start(self) -> None:
        server = Sshd(self.folder, self.ports)
        self.processes.append(server.start())
        self.processes[0].wait_listening(server.port)
        forwards = []
        for route in self.routes:
            forwards += ["-L", f"127.0.0.1:{route.listen}:127.0.0.1:{route.target}"]
        client = self.spawn(
            "client",
            *("ssh", "-N", *server.client_options(), "-o", "ExitOnForwardFailure=yes", *forwards),
            *("-p", str(server.port), f"{server.user}@127.0.0.1"),
        )
        for route in self.routes:
            client.wait_listening(route.listen)

    def entry(self, route: Route) -> int:
        return route.listen


class Stunnel(Forwarder):
    name = "stunnel"

    def start(self) -> None:
        pem = self.folder / "stunnel.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        run([*make, "-subj", "/CN=localhost", "-keyout", pem, "-out", self.folder / "cert.pem"])
        pem.write_text(pem.read_text() + (self.folder / "cert.pem").read_text())
        common = [
            "foreground = yes",
            "pid =",
            "debug = warning",
            "sslVersion = TLSv1.3",
            "ciphersuites = TLS_AES_256_GCM_SHA384",
            "socket = l:TCP_NODELAY=1",
            "socket = r:TCP_NODELAY=1",
        ]
        near, far = [*common, "client = yes"], [*common, f"cert = {pem}"]
        between = {route.listen: self.ports.take() for route in self.routes}
        for route in self.routes:
            middle = between[route.listen]
            near += [f"[s{route.listen}]", f"accept = 127.0.0.1:{route.listen}"]
            near += [f"connect = 127.0.0.1:{middle}", f"CAfile = {self.folder}/cert.pem"]
            near += ["verifyPeer = yes"]
            far += [f"[s{route.listen}]", f"accept = 127.0.0.1:{middle}"]
            far += [f"connect = 127.0.0.1:{route.target}"]
        command = "stunnel"
        server = self.spawn("server", command, self.write("server.conf", *far))
        client = self.spawn("client", command, self.write("client.conf", *near))
        for route in self.routes:
            server.wait_listening(between[route.listen])
            client.wait_listening(route.listen)

    def entry(self, route: Route) -> int:
        return route.listen


class Haproxy(Forwarder):
    """Unencrypted: what two more user-space hops cost, and what they do to FIN and RST."""

    name = "haproxy"

    def start(self) -> None:
        common = [
            "global",
            "  maxconn 4000",
            "defaults",
            "  mode tcp",
            "  timeout connect 5s",
            "  timeout client 1h",
            "  timeout server 1h",
        ]
        near, far = list(common), list(common)
        between = {route.listen: self.ports.take() for route in self.routes}
        for route in self.routes:
            middle = between[route.listen]
            near += self.listen(route.listen, middle)
            far += self.listen(middle, route.target)
        server = self.spawn("server", "haproxy", "-db", "-f", self.write("server.cfg", *far))
        client = self.spawn("client", "haproxy", "-db", "-f", self.write("client.cfg", *near))
        for route in self.routes:
            server.wait_listening(between[route.listen])
            client.wait_listening(route.listen)

    @staticmethod
    def listen(port: int, target: int) -> list[str]:
        return [
            f"listen s{port}",
            f"  bind 127.0.0.1:{port}",
            f"  server target 127.0.0.1:{target}",
        ]

    def entry(self, route: Route) -> int:
        return route.listen


class Socat(Forwarder):
    """Unencrypted, one process a connection."""

    name = "socat"

    def start(self) -> None:
        for number, route in enumerate(self.routes):
            middle = self.ports.take()
            for place, (port, target) in {
                "server": (middle, route.target),
                "client": (route.listen, middle),
            }.items():
                process = self.spawn(
                    f"{place}-{number}",
                    "socat",
                    f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024",
                    f"TCP:127.0.0.1:{target}",
                )
                process.wait_listening(port)

    def entry(self, route: Route) -> int:
        return route.listen


FORWARDERS: dict[str, type[Forwarder]] = {
    kind.name: kind for kind in (Forwarder, Utun, Ssh, Stunnel, Haproxy, Socat)
}


def chosen() -> type[Forwarder]:
    """utun, or what UTUN_TEST_FORWARDER names: how does another program do in the same test?"""
    return FORWARDERS[os.environ.get("UTUN_TEST_FORWARDER", Utun.name)]
