#!/usr/bin/env python3
"""The PROXY protocol: what a target is told of the client, and whom a source believes.

nginx logs the client that the header names, HAProxy stands in front of the source.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from harness.echo import Echo
from harness.ports import Ports
from harness.process import PATIENCE, Process, run, wait_until
from harness.servers import Server
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class LoggingNginx(Server):
    """Takes connections with a PROXY header only, and logs whom the header names."""

    def prepare(self) -> None:
        self.log = self.folder / "access"
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"""\
daemon off;
master_process off;
pid {self.folder}/pid;
error_log stderr warn;
events {{ }}
http {{
    log_format who '$proxy_protocol_addr $proxy_protocol_port '
                   '$proxy_protocol_server_addr $proxy_protocol_server_port';
    access_log {self.log} who;
    {temporary}
    server {{
        listen 127.0.0.1:{self.port} proxy_protocol;
        location / {{ return 200 "hello\\n"; }}
    }}
}}
"""
        )

    def start(self) -> Process:
        argv = ["nginx", "-c", self.folder / "nginx.conf", "-e", "stderr"]
        return Process("nginx", argv, self.folder)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


class Haproxy(Server):
    """Passes connections on to a port, with a header in front of them."""

    def __init__(self, folder: Path, ports: Ports, target: int, header: str) -> None:
        self.target = target
        self.header = header
        place = folder / header
        place.mkdir()
        super().__init__(place, ports)

    def prepare(self) -> None:
        (self.folder / "haproxy.cfg").write_text(
            f"""\
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen front
    bind 127.0.0.1:{self.port}
    server source 127.0.0.1:{self.target} {self.header}
"""
        )

    def start(self) -> Process:
        argv = ["haproxy", "-db", "-f", self.folder / "haproxy.cfg"]
        return Process(f"haproxy-{self.header}", argv, self.folder)


GET = b"GET / HTTP/1.0\r\n\r\n"


def is_greeted(said: bytes) -> bool:
    return said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b"\r\n\r\nhello\n")


def ask(port: int, first: bytes = b"", bind: str = "127.0.0.1") -> tuple[bytes, int]:
    """All that the target says, and our own port."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=20 * PATIENCE, source_address=(bind, 0)
    ) as sock:
        own = sock.getsockname()[1]
        sock.sendall(first)
        said = b""
        try:
            while piece := sock.recv(4096):
                said += piece
        except ConnectionResetError:
            return b"reset", own
        return said, own


def names_the_client(nginx: LoggingNginx, port: int, front: int | None = None) -> None:
    """Straight to the source (port is its), or through a balancer at front."""
    before = len(nginx.lines())
    said, own = ask(front or port, GET, bind="127.0.0.77")
    check(is_greeted(said), f"the target said {said!r}")
    wait_until(lambda: len(nginx.lines()) > before, 5, "nginx to log the connection")
    check_equal(nginx.lines()[-1], f"127.0.0.77 {own} 127.0.0.1 {front or port}", "nginx's log")


def first_bytes(port: int, echo: Echo) -> None:
    """The header and nothing else stands in front of what the client says."""
    with socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as sock:
        own = sock.getsockname()[1]
        sock.sendall(b"x" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        said = b""
        while piece := sock.recv(65536):
            said += piece
    header = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\n".encode()
    check_equal(said[: len(header)], header, "the header")
    check(said[len(header) :] == b"x" * 100_000, "what came behind the header differs")


def header_v2(client: str, client_port: int, command: int = 0x21) -> bytes:
    ips = socket.inet_aton(client) + socket.inet_aton("192.0.2.80")
    ports = client_port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    return SIGNATURE + bytes([command, 0x11, 0, 12]) + ips + ports


def believed(nginx: LoggingNginx, port: int) -> None:
    """From a listed address the header counts, in both versions, cut anywhere."""
    v1 = b"PROXY TCP4 198.51.100.9 192.0.2.80 4711 443\r\n"
    additions = header_v2("198.51.100.9", 4711)[:14] + bytes([0, 20])
    additions += header_v2("198.51.100.9", 4711)[16:] + b"\x04\x00\x05padme"
    for header in (v1, header_v2("198.51.100.9", 4711), additions):
        for piece in (1, 7, len(header)):
            before = len(nginx.lines())
            with socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as sock:
                for at in range(0, len(header), piece):
                    sock.sendall(header[at : at + piece])
                sock.sendall(GET)
                check(sock.recv(100).startswith(b"HTTP/1.1 200 OK"), "no answer")
            wait_until(lambda: len(nginx.lines()) > before, 5, "nginx to log the connection")
            check_equal(nginx.lines()[-1], "198.51.100.9 4711 192.0.2.80 443", "nginx's log")


def local(nginx: LoggingNginx, port: int) -> None:
    """A header that names nobody: the balancer itself is the client."""
    for header in (header_v2("1.2.3.4", 5, 0x20), b"PROXY UNKNOWN\r\n"):
        before = len(nginx.lines())
        said, own = ask(port, header + GET)
        check(is_greeted(said), f"the target said {said!r}")
        wait_until(lambda: len(nginx.lines()) > before, 5, "nginx to log the connection")
        check_equal(nginx.lines()[-1], f"127.0.0.1 {own} 127.0.0.1 {port}", "nginx's log")


def not_believed(nginx: LoggingNginx, port: int) -> None:
    """A client that is not listed speaks for itself: its header is for the target."""
    before = len(nginx.lines())
    said, own = ask(port, header_v2("198.51.100.9", 4711) + GET, bind="127.0.0.77")
    check(b"400 Bad Request" in said, f"the target said {said!r}")
    wait_until(lambda: len(nginx.lines()) > before, 5, "nginx to log the connection")
    check_equal(nginx.lines()[-1], f"127.0.0.77 {own} 127.0.0.1 {port}", "nginx's log")


def malformed(nginx: LoggingNginx, port: int, source: Process) -> None:
    """A listed client without a good header is sent away, and the target hears nothing."""
    before = len(nginx.lines())
    good = header_v2("198.51.100.9", 4711)
    for header in (
        b"GET / HTTP/1.0\r\n\r\n",
        b"PROXY TCP4 198.51.100.9 192.0.2.80 65536 443\r\n",
        b"PROXY " + b"x" * 200,
        good[:12] + b"\x31" + good[13:],
        good[:13] + b"\x12" + good[14:],
        good[:14] + b"\xff\xff",
        good[:14] + b"\x00\x0b" + good[16:],
    ):
        said, _ = ask(port, header)
        check(said in (b"reset", b""), f"the answer to {header!r} is {said!r}")
    source.wait_event("stream.refused", error="malformed")
    source.wait_event("stream.refused", error="too_large")
    started = time.monotonic()
    said, _ = ask(port, good[:20])
    check(said in (b"reset", b""), f"the answer to half a header is {said!r}")
    check(time.monotonic() - started > 0.9, "half a header was not waited for")
    check_equal(len(nginx.lines()), before, "connections at the target")


def entry_point(nginx: LoggingNginx, entry: int, web: Service) -> None:
    """Behind the balancer's header comes the client's own request."""
    before = len(nginx.lines())
    request = f"CONNECT web:{web.port} HTTP/1.0\r\n\r\n".encode()
    said, _ = ask(entry, header_v2("198.51.100.9", 4711) + request + GET)
    connected = b"HTTP/1.1 200 Connection established\r\n\r\n"
    check(said.startswith(connected), f"it said {said!r}")
    check(is_greeted(said.removeprefix(connected)), f"it said {said!r}")
    wait_until(lambda: len(nginx.lines()) > before, 5, "nginx to log the connection")
    check_equal(nginx.lines()[-1], "198.51.100.9 4711 192.0.2.80 443", "nginx's log")


def main() -> int:
    with Suite("the PROXY protocol") as suite:
        folder, ports = suite.folder, suite.ports
        run(["haproxy", "-v"])
        with LoggingNginx(folder, ports) as nginx, Echo(folder, ports) as echo:
            v1, v2, plain = (Service(ports.take(), port) for port in (nginx.port, nginx.port, 0))
            plain.target_port = echo.port
            entry = ports.take()
            rows = [
                {**v1.table(), "proxy_protocol": "v1", "name": "web1"},
                {**v2.table(), "proxy_protocol": "v2", "name": "web"},
                {**plain.table(), "proxy_protocol": "v1", "name": "echo"},
            ]
            dest = {"dest": {"exposed_services": rows}}
            authority = Authority(folder)
            services = [v1, v2, plain]
            with Pair(folder, ports, services, authority, name="plain", dest_changes=dest):
                suite.run("version 1 to nginx", names_the_client, nginx, v1.port)
                suite.run("version 2 to nginx", names_the_client, nginx, v2.port)
                suite.run("the client's bytes behind it", first_bytes, plain.port, echo)
            source = {
                "mode": "hybrid",
                "listen_port": entry,
                "accept_proxy_protocol": ["127.0.0.1/32", "::1"],
                "connection_timeout_ms": 1000,
            }
            with Pair(
                folder,
                ports,
                services,
                authority,
                name="balanced",
                dest_changes=dest,
                source_changes={"source": source},
            ) as pair:
                for header in ("send-proxy", "send-proxy-v2"):
                    with Haproxy(folder, ports, v2.port, header) as front:
                        case = f"HAProxy with {header} in front of the source"
                        suite.run(case, names_the_client, nginx, v2.port, front.port)
                suite.run("headers of a listed client", believed, nginx, v2.port)
                suite.run("headers that name nobody", local, nginx, v2.port)
                suite.run("a client that is not listed", not_believed, nginx, v2.port)
                suite.run("malformed headers", malformed, nginx, v2.port, pair.source)
                suite.run("a request behind a header", entry_point, nginx, entry, v2)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
