#!/usr/bin/env python3
"""The entry point of `protocol` and `hybrid` mode, with real programs and with a raw client.

What is refused is refused by both roles, each with the reply of the client's own protocol, and
nothing is connected meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from content import sum_of, write_file
from harness.echo import Echo
from harness.process import PATIENCE, Process, program, run, wait_until
from harness.servers import Nginx, Sshd
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service, merge

MIB = 8

# Replies of SOCKS5, RFC 1928, section 6.
SUCCEEDED, FAILURE, NOT_ALLOWED, UNREACHABLE, NO_HOST, CONNECTION_REFUSED, EXPIRED = range(7)
NO_COMMAND, NO_TYPE = 7, 8


# -- a raw client


def socks_address(host: str) -> bytes:
    """ATYP and address: an IP address by its bytes, everything else as a name."""
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 4)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host)
        except OSError:
            pass
    return bytes([3, len(host)]) + host.encode()


def socks_request(host: str, port: int, command: int = 1) -> bytes:
    return bytes([5, command, 0]) + socks_address(host) + struct.pack(">H", port)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE)


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        check(piece, f"the connection ended after {data!r}")
        data += piece
    return data


def socks(port: int, host: str, target: int, command: int = 1) -> tuple[int, socket.socket]:
    """The reply's code, and the connection. A refusal has to end in a FIN, not in a RST."""
    sock = connect(port)
    sock.sendall(b"\x05\x01\x00")
    check_equal(receive(sock, 2), b"\x05\x00", "the chosen method")
    sock.sendall(socks_request(host, target, command))
    reply = receive(sock, 10)
    check_equal((reply[0], reply[2], reply[3]), (5, 0, 1), "the reply's fixed bytes")
    if reply[1] != SUCCEEDED:
        check_equal(sock.recv(1), b"", "what follows a refusal")
        sock.close()
    return reply[1], sock


def http(port: int, request: bytes) -> tuple[int, str, socket.socket]:
    """The status, the whole head and body (of a refusal), and the connection."""
    sock = connect(port)
    sock.sendall(request)
    said = b""
    while b"\r\n\r\n" not in said:
        piece = sock.recv(1)
        check(piece, f"the connection ended after {said!r}")
        said += piece
    status = int(said.split()[1])
    if status != 200:
        while piece := sock.recv(4096):
            said += piece
        sock.close()
    return status, said.decode(), sock


def http_connect(port: int, authority: str) -> tuple[int, str, socket.socket]:
    return http(port, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())


def echoes(sock: socket.socket) -> None:
    data = os.urandom(100_000)
    sock.sendall(data[:50_000])
    check_equal(receive(sock, 50_000), data[:50_000], "what came back")
    sock.sendall(data[50_000:])
    sock.shutdown(socket.SHUT_WR)
    check_equal(receive(sock, 50_000), data[50_000:], "what came back")
    check_equal(sock.recv(1), b"", "after our FIN")
    sock.close()


# -- the place


class Place:
    """A pair in protocol mode: nginx and an echo service as services, addresses besides."""

    def __init__(
        self,
        suite: Suite,
        authority: Authority,
        name: str,
        services: list[Service],
        outbound: list[str] | None = None,
        targets: list[str] | None = None,
        source: dict | None = None,
        dest: dict | None = None,
    ) -> None:
        self.port = suite.ports.take()
        source_changes = {"mode": "protocol", "listen_port": self.port, "exposed_ports": None}
        if outbound:
            source_changes["allowed_outbound"] = {"allowed_ips": outbound}
        dest_changes: dict = {"max_connections_per_service": 1000}
        if targets:
            dest_changes["allowed_targets"] = {"allowed_ips": targets}
        self.pages = {role: suite.ports.take() for role in ("source", "dest")}
        metrics = {
            role: {"metrics": {"enabled": True, "metrics_port": page}}
            for role, page in self.pages.items()
        }
        self.pair = Pair(
            suite.folder,
            suite.ports,
            services,
            authority,
            name=name,
            kem_mode="mlkem768",
            source_changes={"source": merge(source_changes, source or {}), **metrics["source"]},
            dest_changes={"dest": merge(dest_changes, dest or {}), **metrics["dest"]},
        )

    def service(self, role: str, name: str) -> dict:
        """What /status says of it."""
        url = f"http://127.0.0.1:{self.pages[role]}/status"
        with urllib.request.urlopen(url, timeout=20 * PATIENCE) as answer:
            rows = json.load(answer)["services"]
        return next(row for row in rows if row["name"] == name)

    def __enter__(self) -> Place:
        self.pair.__enter__()
        assert self.pair.source and self.pair.dest
        self.source, self.dest = self.pair.source, self.pair.dest
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        self.pair.__exit__(kind)


# -- real programs


def curl(*options: object, status: int = 0) -> str:
    base = ["curl", "-sS", "--noproxy", "", "--max-time", "60"]
    return run([*base, *options], seconds=60, status=status).stdout


def through_curl(place: Place, nginx: Nginx, name: str, scheme: str, host: str, port: int) -> None:
    wanted = write_file(nginx.files / name, MIB)
    got = nginx.folder / f"{name}-got"
    proxy = f"{scheme}://127.0.0.1:{place.port}"
    curl("--fail", "-p", "-x", proxy, "-o", got, f"http://{host}:{port}/{name}")
    check_equal(sum_of(got), wanted, "SHA-256")


def ssh(place: Place, sshd: Sshd, way: str) -> None:
    """A command over ssh, whose connection another program makes."""
    argv = ["ssh", *sshd.client_options(), "-o", f"ProxyCommand={way}", "-p", sshd.port]
    said = run([*argv, f"{sshd.user}@127.0.0.1", "seq 100000; exit 7"], status=7).stdout.split()
    check_equal(said, [str(n) for n in range(1, 100001)], "the command's output")


def chromium(place: Place, nginx: Nginx, web: Named, folder: Path) -> None:
    """A page with a script that asks for more, in a browser without a screen."""
    (nginx.files / "page.html").write_text(
        "<!doctype html><title>t</title><body><script>"
        "Promise.all([...Array(20).keys()].map(i => fetch('/tiny?' + i).then(r => r.text())))"
        ".then(t => { document.body.dataset.sum = 'got ' + t.join('').length; });"
        "</script>"
    )
    argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    argv += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    argv += [f"--user-data-dir={folder / 'chromium'}", "--virtual-time-budget=20000"]
    argv += [f"--proxy-server=socks5://127.0.0.1:{place.port}", "--proxy-bypass-list=<-loopback>"]
    page = f"http://{web.name}:{web.port}/page.html"
    env = {"HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    said = run([*argv, "--dump-dom", page], seconds=90, env={**os.environ, **env}).stdout
    check("got 100" in said, f"20 answers of 5 bytes are not in the page: {said[:500]!r}")


# -- targets, allowed and not


@dataclass
class Named(Service):
    name: str = ""

    def table(self) -> dict[str, object]:
        return {**super().table(), "name": self.name}


def targets(place: Place, echo: Echo, service: Named) -> None:
    for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1"):
        code, sock = socks(place.port, host, echo.port)
        check_equal(code, SUCCEEDED, f"the reply for {host}")
        echoes(sock)
        named = f"[{host}]" if ":" in host else host
        status, _, sock = http_connect(place.port, f"{named}:{echo.port}")
        check_equal(status, 200, f"the status for {host}")
        echoes(sock)
    code, sock = socks(place.port, service.name, service.port)
    check_equal(code, SUCCEEDED, "the reply for the service")
    echoes(sock)
    # The service's name with another port is no service, and no name that resolves.
    check_equal(socks(place.port, service.name, echo.port)[0], NO_HOST, "the reply")


def early_words(place: Place, echo: Echo) -> None:
    """Everything at once: the request and what is for the target, before any answer."""
    sock = connect(place.port)
    sock.sendall(b"\x05\x01\x00" + socks_request("127.0.0.1", echo.port) + b"early" * 1000)
    sock.shutdown(socket.SHUT_WR)
    check_equal(receive(sock, 2 + 10)[:4], b"\x05\x00\x05\x00", "the answers")
    check_equal(receive(sock, 5000), b"early" * 1000, "what came back")
    check_equal(sock.recv(1), b"", "the end")
    sock.close()
    request = f"CONNECT 127.0.0.1:{echo.port} HTTP/1.0\r\n\r\n".encode()
    sock = connect(place.port)
    for byte in request + b"early":
        sock.sendall(bytes([byte]))
    answer = b"HTTP/1.1 200 Connection established\r\n\r\nearly"
    check_equal(receive(sock, len(answer)), answer, "the answer and what came back")
    sock.close()


def failures(place: Place, closed_port: int) -> None:
    """Allowed by both lists, but it does not work: what the target has really said."""
    expected = {
        ("127.0.0.1", closed_port): (CONNECTION_REFUSED, 502, "connection_refused"),
        ("localhost", closed_port): (CONNECTION_REFUSED, 502, "connection_refused"),
        ("no-such-name.invalid", 80): (NO_HOST, 502, "dns_error"),
    }
    for (host, port), (code, status, error) in expected.items():
        check_equal(socks(place.port, host, port)[0], code, f"the reply for {host}:{port}")
        got, said, _ = http_connect(place.port, f"{host}:{port}")
        check_equal(got, status, f"the status for {host}:{port}")
        check(f"error={error}" in said, f"{error} is not in {said!r}")


def silent_target(place: Place) -> None:
    """A target that never answers: a listener whose queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        kept = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            kept.append(sock)
        time.sleep(0.2)
        check_equal(socks(place.port, "127.0.0.1", port)[0], EXPIRED, "the reply")
        check_equal(http_connect(place.port, f"127.0.0.1:{port}")[0], 504, "the status")
        for sock in kept:
            sock.close()


class Trap:
    """A target on every address of this machine that nobody may reach."""

    def __enter__(self) -> Trap:
        self.sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.sock.accept()
        except BlockingIOError:
            return
        finally:
            self.sock.close()
        check(kind is not None, "a target that is not allowed was connected to")


def refused(place: Place, who: str, error: str, hosts: list[str]) -> None:
    """Each host, by both protocols: not allowed, as that role says, and never connected to."""
    process = place.source if who == "source" else place.dest
    with Trap() as trap:
        for host in hosts:
            check_equal(socks(place.port, host, trap.port)[0], NOT_ALLOWED, f"the reply for {host}")
            named = f"[{host}]" if ":" in host else host
            status, said, _ = http_connect(place.port, f"{named}:{trap.port}")
            check_equal(status, 403, f"the status for {host}: {said}")
        # The log takes only so many of a kind in a second.
        process.wait_event("stream.refused", error=error, port=trap.port)


# -- UDP ASSOCIATE


class Repeater:
    """A UDP service that answers each datagram with itself."""

    def __enter__(self) -> Repeater:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self) -> None:
        while True:
            try:
                data, peer = self.sock.recvfrom(65536)
            except OSError:
                return
            if data == b"end":
                return
            self.heard.append(data)
            self.sock.sendto(data, peer)

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"end", ("127.0.0.1", self.port))
        self.sock.close()


class Association:
    """A client of UDP ASSOCIATE: its TCP connection and its UDP socket."""

    def __init__(self, port: int) -> None:
        code, self.control = socks_udp(port)
        check_equal(code[1], SUCCEEDED, "the reply to UDP ASSOCIATE")
        self.server = (socket.inet_ntoa(code[4:8]), struct.unpack(">H", code[8:10])[0])
        check_equal(self.server[0], "127.0.0.1", "the address to send to")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(5 * PATIENCE)

    def send(self, host: str, port: int, data: bytes) -> None:
        header = b"\0\0\0" + socks_address(host) + struct.pack(">H", port)
        self.sock.sendto(header + data, self.server)

    def receive(self, host: str, port: int) -> bytes:
        header = b"\0\0\0" + socks_address(host) + struct.pack(">H", port)
        data, peer = self.sock.recvfrom(65536)
        check_equal(peer, self.server, "where the answer is from")
        check_equal(data[: len(header)], header, "the answer's header")
        return data[len(header) :]

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.sock.close()


def socks_udp(port: int) -> tuple[bytes, socket.socket]:
    sock = connect(port)
    sock.sendall(b"\x05\x01\x00")
    check_equal(receive(sock, 2), b"\x05\x00", "the chosen method")
    sock.sendall(socks_request("0.0.0.0", 0, command=3))
    return receive(sock, 10), sock


def datagrams(place: Place, repeater: Repeater, service: Named) -> None:
    """To a service, to an address and to a name, each answered from there, whole or not at all."""
    with Association(place.port) as client:
        wheres = [("127.0.0.1", repeater.port), ("localhost", repeater.port)]
        for host, port in [*wheres, (service.name, service.port)]:
            for size in (0, 1, 512, 1400, 20000):
                data = os.urandom(size)
                client.send(host, port, data)
                check(client.receive(host, port) == data, f"{size} bytes to {host} came back wrong")
        # What is no request is dropped: a fragment, an unknown type, nothing, half a header.
        before = len(repeater.heard)
        for bad in (b"\0\0\1\1\x7f\0\0\1\0\1x", b"\0\0\0\2\x7f\0\0\1\0\1x", b"", b"\0\0\0\1\x7f"):
            client.sock.sendto(bad, client.server)
        # So is what comes from anybody else.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.99", 0))
            header = b"\0\0\0" + socks_address("127.0.0.1") + struct.pack(">H", repeater.port)
            stranger.sendto(header + b"stranger", client.server)
            client.send("127.0.0.1", repeater.port, b"after")
            check_equal(client.receive("127.0.0.1", repeater.port), b"after", "the answer")
        check_equal(len(repeater.heard), before + 1, "datagrams that reached the target")
    # One audit line for each of the three flows.
    place.dest.wait_event("audit.stream", count=3)
    lines = place.dest.events("audit.stream")
    target = f"127.0.0.1:{repeater.port}"
    wanted = [
        ("", target, 21_918),
        ("", f"localhost:{repeater.port}", 21_913),
        (service.name, target, 21_913),
    ]
    got = [(line["service"], line["target"], line["bytes_to_target"]) for line in lines]
    check_equal(sorted(got), sorted(wanted), "services, targets and bytes of the audit lines")
    for line in lines:
        check_equal((line["result"], line["protocol"]), ("done", "udp"), "the audit line")
        check(not line["client"].endswith(":0"), f"no client in {line}")
        check_equal(line["bytes_from_target"], line["bytes_to_target"], "the bytes back")
    # Both count them: the hosts' as one service at the dest, all of them at the entry point.
    for role, name, count, size in (
        ("dest", "(hosts)", 2, 21_918 + 21_913),
        ("source", "(entry)", 3, 21_918 + 2 * 21_913),
    ):
        row = place.service(role, name)
        got = (row["flows_total"], row["bytes_to_target"], row["bytes_to_client"])
        check_equal(got, (count, size, size), f"flows and bytes of {name}")


def forbidden_datagrams(place: Place, who: str, hosts: list[str]) -> None:
    with Repeater() as trap, Association(place.port) as client:
        for host in hosts:
            client.send(host, trap.port, b"nobody is to hear this")
        process = place.source if who == "source" else place.dest
        process.wait_event("stream.refused", error="not_allowed")
        # An IPv4 address that is mapped into IPv6 is the same target: perhaps the same flow.
        count = len(hosts) - ("::ffff:127.0.0.1" in hosts) if who == "dest" else 0
        if who == "dest":
            place.dest.wait_event("audit.stream", count=count, protocol="udp")
        time.sleep(0.3)
        check_equal(trap.heard, [], "what the target has heard")
        lines = place.dest.events("audit.stream")
        results = [(line["result"], line["reason"], line["bytes_to_target"]) for line in lines]
        check(count <= len(results) <= len(hosts), f"{len(results)} audit lines at the dest")
        check(set(results) <= {("refused", "not_allowed", 0)}, f"audit lines {results}")


def association_ends(place: Place, before: int) -> None:
    """With its TCP connection."""
    clients = [Association(place.port) for _ in range(20)]
    check(place.source.fd_count() >= before + 40, "there are no sockets for them")
    for client in clients:
        client.__exit__()
    wait_until(lambda: place.source.fd_count() <= before, 10, "the source to close descriptors")


# -- malformed requests


def malformed(place: Place) -> None:
    hello = b"\x05\x01\x00"
    for said, answer in {
        b"\x05\x01\x02": b"\x05\xff",
        b"\x05\x00": b"\x05\xff",
        hello + b"\x05\x02\x00\x01": b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0",
        hello + b"\x05\x01\x00\x02": b"\x05\x00\x05\x08\x00\x01\0\0\0\0\0\0",
        hello + b"\x05\x01\x00\x03\x00\x00\x50": b"\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0",
        hello + b"\x04\x01\x00\x01": b"\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0",
    }.items():
        for piece in (1, len(said)):
            sock = connect(place.port)
            for at in range(0, len(said), piece):
                sock.sendall(said[at : at + piece])
            check_equal(receive(sock, len(answer)), answer, f"the answer to {said!r}")
            check_equal(sock.recv(1), b"", f"after the answer to {said!r}")
            sock.close()
    for request, status in {
        b"GET http://web/ HTTP/1.1\r\nHost: web\r\n\r\n": 405,
        b"BREW /pot HTTP/1.1\r\nHost: pot\r\n\r\n": 501,
        b"CONNECT web HTTP/1.0\r\n\r\n": 400,
        b"CONNECT web:1 HTTP/1.1\r\n\r\n": 400,
        b"CONNECT web:1 HTTP/3.0\r\n\r\n": 505,
        b"CONNECT web:1 HTTP/1.0\n\n": 400,
        b"A" * 5000: 414,
        b"CONNECT web:1 HTTP/1.0\r\n" + b"A: " + b"b" * 5000: 431,
    }.items():
        got, said, _ = http(place.port, request)
        check_equal(got, status, f"the status for {request[:40]!r}")
        check("SOCKS5" in said, f"nothing says what the port is for: {said!r}")
    for stranger in (b"\x16\x03\x01\x02\x00", b"\x04\x01\x00\x50", b"\x00", b"get / http/1.0\r\n"):
        sock = connect(place.port)
        sock.sendall(stranger)
        try:
            check_equal(sock.recv(1), b"", f"the answer to {stranger!r}")
        except ConnectionResetError:
            pass
        sock.close()


def never_finished(place: Place) -> None:
    """Who does not come to the point is sent away after connection_timeout_ms, however slow."""
    started = time.monotonic()
    beginnings = (b"", b"\x05", b"\x05\x01\x00\x05\x01", b"CONNECT we", b"CONNECT w:1 HTTP/1.1\r\n")
    socks_ = [connect(place.port) for _ in beginnings]
    for sock, beginning in zip(socks_, beginnings):
        sock.sendall(beginning)
    for sock in socks_:
        try:
            while sock.recv(100):
                pass
        except ConnectionResetError:
            pass
    check(1.5 < time.monotonic() - started < 6 * PATIENCE, "the time until they were sent away")
    # A byte now and then does not help.
    sock = connect(place.port)
    started = time.monotonic()
    try:
        for byte in b"CONNECT web:80 HTTP/1.1\r\nHost: a-name-that-comes-slowly\r\n" * 20:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)
            check(time.monotonic() - started < 8 * PATIENCE, "it is still listened to")
    except (ConnectionResetError, BrokenPipeError):
        pass
    sock.close()


def nothing_is_left(place: Place, descriptors: tuple[int, int]) -> None:
    def is_back() -> bool:
        now = (place.source.fd_count(), place.dest.fd_count())
        return now[0] <= descriptors[0] and now[1] <= descriptors[1]

    wait_until(is_back, 15, "both roles to close descriptors")


# -- logins


def logins(place: Place, web: Named) -> None:
    url = f"http://{web.name}:{web.port}/tiny"
    proxy = f"127.0.0.1:{place.port}"
    for scheme in ("socks5h", "http"):
        said = curl("--fail", "-p", "-x", f"{scheme}://alice:correct%20horse@{proxy}", url)
        check_equal(said, "tiny\n", f"the answer over {scheme}")
        for user in ("alice:wrong@", "bob:correct%20horse@", ""):
            argv = ["curl", "-sS", "--noproxy", "", "-p", "-x", f"{scheme}://{user}{proxy}", url]
            ended = run(argv, seconds=60, status=None)
            check(ended.returncode in (56, 97), f"curl ended with {ended.returncode} for {user!r}")
    check_equal(http_connect(place.port, "web:80")[0], 407, "the status without a login")
    sock = connect(place.port)
    sock.sendall(b"\x05\x01\x00")
    check_equal(receive(sock, 2), b"\x05\xff", "the answer to a client that cannot log in")
    sock.close()
    check("horse" not in place.source.text(), "a password is in the log")


def exposed_too(service: Named) -> None:
    """In hybrid mode the exposed ports work as ever."""
    echoes(connect(service.port))


def held(place: Place) -> None:
    """While there is no session a client waits; at last it hears of it in its own protocol."""
    place.dest.stop()
    place.source.wait_event("session.down")
    check_equal(http_connect(place.port, "web:80")[0], 503, "the status")
    check_equal(socks(place.port, "web", 80)[0], FAILURE, "the reply")


# -- all of it

LOOPBACK = ["127.0.0.0/8", "::1"]
ELSEWHERE = ["192.0.2.0/24", "2001:db8::/32"]
WIDE = ["0.0.0.0/0", "::/0"]
ANYWHERE = [*WIDE, *LOOPBACK]

# What all lead to this machine, the later ones only as a resolver reads them.
DISGUISES = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433"]
NOWHERE = ["0.0.0.0", "::", "::ffff:0.0.0.0", "0.1.2.3"]


def programs(suite: Suite, authority: Authority) -> None:
    with Nginx(suite.folder, suite.ports) as nginx, Sshd(suite.folder, suite.ports) as sshd:
        web = Named(suite.ports.take(), nginx.port, name="web.test")
        with Place(suite, authority, "programs", [web], LOOPBACK, LOOPBACK) as place:
            ways = (
                ("curl --socks5-hostname, a service", "socks5h", web.name, web.port),
                ("curl --socks5-hostname, a host", "socks5h", "localhost", nginx.port),
                ("curl --socks5, an address", "socks5", "localhost", nginx.port),
                ("curl -x http://, a service", "http", web.name, web.port),
                ("curl -x http://, an address", "http", "[::1]", nginx.port),
            )
            for number, (name, *way) in enumerate(ways):
                suite.run(name, through_curl, place, nginx, f"file-{number}", *way)
            proxy = f"127.0.0.1:{place.port}"
            nc, ncat = program("nc.openbsd"), program("ncat")
            for name, way in (
                ("ssh through nc -X 5", f"{nc} -X 5 -x {proxy} %h %p"),
                ("ssh through nc -X connect", f"{nc} -X connect -x {proxy} %h %p"),
                ("ssh through ncat", f"{ncat} --proxy-type socks5 --proxy {proxy} %h %p"),
            ):
                suite.run(name, ssh, place, sshd, way)
            suite.run("a page in Chromium", chromium, place, nginx, web, suite.folder)


def requests(suite: Suite, authority: Authority) -> None:
    quick = {"connection_timeout_ms": 2000}
    with Echo(suite.folder, suite.ports) as echo:
        service = Named(suite.ports.take(), echo.port, name="echo")
        with Place(
            suite,
            authority,
            "requests",
            [service],
            LOOPBACK,
            LOOPBACK,
            source=quick,
            dest={"target_connect_timeout_ms": 1500},
        ) as place:
            suite.run("services and hosts", targets, place, echo, service)
            before = (place.source.fd_count(), place.dest.fd_count())
            suite.run("a client that does not wait for answers", early_words, place, echo)
            suite.run("refused and unknown targets", failures, place, suite.ports.take())
            suite.run("a target that is silent", silent_target, place)
            suite.run("0.0.0.0 and ::", refused, place, "source", "not_allowed", NOWHERE)
            suite.run("malformed requests, also byte by byte", malformed, place)
            suite.run("requests that are never finished", never_finished, place)
            suite.run("nothing is left of all that", nothing_is_left, place, before)
            suite.run("no session with the dest", held, place)


def udp(suite: Suite, authority: Authority) -> None:
    with Repeater() as repeater:
        service = Named(suite.ports.take(), repeater.port, name="repeat")
        rows = {"exposed_services": [{**service.table(), "protocol": "udp"}]}
        with Place(suite, authority, "udp", [service], LOOPBACK, LOOPBACK, dest=rows) as place:
            before = place.source.fd_count()
            suite.run("UDP ASSOCIATE", datagrams, place, repeater, service)
            suite.run("an association's end", association_ends, place, before)
    for name, outbound, targets, who, hosts in (
        ("udp-strict-dest", ANYWHERE, ELSEWHERE, "dest", DISGUISES),
        ("udp-strict-source", ELSEWHERE, ANYWHERE, "source", DISGUISES[:3]),
        ("udp-strict-names", ELSEWHERE, ANYWHERE, "dest", DISGUISES[3:]),
        ("udp-nowhere", ANYWHERE, ANYWHERE, "source", NOWHERE),
    ):
        with Place(suite, authority, name, [], outbound, targets) as place:
            case = f"datagrams that are not allowed, {name}"
            suite.run(case, forbidden_datagrams, place, who, hosts)


def lists(suite: Suite, authority: Authority) -> None:
    forbidden = "not_allowed"
    with Place(suite, authority, "strict-dest", [], ANYWHERE, ELSEWHERE) as place:
        hosts = [*DISGUISES, "0"]
        suite.run("outside the dest's list", refused, place, "dest", forbidden, hosts)
    with Place(suite, authority, "no-limits", [], ANYWHERE, ANYWHERE) as place:
        suite.run("never allowed", refused, place, "source", forbidden, NOWHERE)
        suite.run("nor by a name", refused, place, "dest", forbidden, ["0", "0x0.0"])
    with Place(suite, authority, "strict-source", [], ELSEWHERE, ANYWHERE) as place:
        numbers, names = DISGUISES[:3], [*DISGUISES[3:], "0"]
        suite.run("outside the source's list", refused, place, "source", forbidden, numbers)
        suite.run("and names that lead there", refused, place, "dest", forbidden, names)
    with Place(suite, authority, "wide-source", [], WIDE, LOOPBACK) as place:
        numbers, names = DISGUISES[:3], DISGUISES[3:]
        suite.run("loopback in a wide list of the source", refused, place, "source", forbidden, numbers)
        suite.run("and by names", refused, place, "dest", forbidden, names)
    with Place(suite, authority, "wide-dest", [], LOOPBACK, WIDE) as place:
        suite.run("loopback in a wide list of the dest", refused, place, "dest", forbidden, DISGUISES)
    with Place(suite, authority, "no-source-list", [], None, ANYWHERE) as place:
        numbers, names = DISGUISES[:3], DISGUISES[3:]
        suite.run("no list at the source", refused, place, "source", forbidden, numbers)
        suite.run("where names are services", refused, place, "dest", "no_service", names)
    with Place(suite, authority, "no-dest-list", [], ANYWHERE, None) as place:
        suite.run("no list at the dest", refused, place, "dest", forbidden, DISGUISES)


def users(suite: Suite, authority: Authority) -> None:
    path = suite.folder / "users"
    path.write_text("# who may use the entry point\nalice:correct horse\n\ncarol:x\n")
    path.chmod(0o600)
    changes = {"mode": "hybrid", "proxy_users_path": path}
    folder = suite.folder / "with-users"
    folder.mkdir(mode=0o711)
    with Nginx(folder, suite.ports) as nginx, Echo(folder, suite.ports) as echo:
        web = Named(suite.ports.take(), nginx.port, name="web")
        shown = Named(suite.ports.take(), echo.port, name="echo")
        changes["exposed_ports"] = [{"port": shown.port}]
        with Place(suite, authority, "users", [web, shown], source=changes) as place:
            suite.run("name and password", logins, place, web)
            suite.run("exposed ports in hybrid mode", exposed_too, shown)


def main() -> int:
    with Suite("the entry point") as suite:
        authority = Authority(suite.folder)
        for part in (requests, udp, lists, users, programs):
            part(suite, authority)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
