#!/usr/bin/env python3
"""Clients that say nonsense, or never come to the point: each bad word byte by byte, each good one
cut anywhere. All are sent away in time, told why where their protocol can, counted, and leave
nothing behind. And targets that never answer."""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
import urllib.request
from pathlib import Path

from harness.echo import Conversation, Echo
from harness.process import PATIENCE, Process, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service

TIMEOUT = 1.5  # connection_timeout_ms
BALANCER = "127.0.0.66"  # whose PROXY protocol headers are believed
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
SOCKS_HELLO = b"\x05\x01\x00"
LOGIN_HELLO = b"\x05\x01\x02"
LOGIN = b"\x01\x05alice\x0dcorrect horse"


def header_v2(command: int = 0x21, family: int = 0x11, size: int = 12) -> bytes:
    ips = socket.inet_aton("198.51.100.9") + socket.inet_aton("192.0.2.80")
    return SIGNATURE + struct.pack(">BBH", command, family, size) + ips + struct.pack(">HH", 9, 80)


def request(name: bytes, port: int) -> bytes:
    return b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port)


class Client:
    """It talks when it is told to, and remembers what it was told."""

    def __init__(self, port: int, words: bytes, address: str = "127.0.0.1") -> None:
        self.words = words
        self.said = 0
        self.heard = b""
        self.ended: float | None = None
        self.sock = socket.socket()
        self.sock.bind((address, 0))
        self.sock.settimeout(20 * PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.began = time.monotonic()

    def say(self, count: int) -> None:
        if self.ended is None:
            try:
                self.sock.send(self.words[self.said : self.said + count])
                self.said += count
            except (ConnectionResetError, BrokenPipeError):
                self.end()

    def hear(self) -> bool:
        """Whether it is at an end."""
        try:
            while self.ended is None:
                if piece := self.sock.recv(1000):
                    self.heard += piece
                else:
                    self.end()
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.end()
        return self.ended is not None

    def end(self) -> None:
        self.ended = time.monotonic()
        self.sock.close()


class Place:
    """A pair in hybrid mode, an echo service, and the pages of both."""

    def __init__(self, suite: Suite, name: str, echo: Echo, users: Path | None = None) -> None:
        self.entry = suite.ports.take()
        self.pages = [suite.ports.take() for _ in range(2)]
        self.service = Service(suite.ports.take(), echo.port)
        self.dead = Service(suite.ports.take(), suite.ports.take())
        source = {
            "mode": "hybrid",
            "listen_port": self.entry,
            "connection_timeout_ms": int(TIMEOUT * 1000),
            "accept_proxy_protocol": [BALANCER],
        }
        if users:
            source["proxy_users_path"] = users
        metrics = [{"enabled": True, "metrics_port": page} for page in self.pages]
        self.pair = Pair(
            suite.folder,
            suite.ports,
            [self.service, self.dead],
            Authority(suite.folder, f"{name}-ca", algorithm="ecdsa-p256"),
            kem_mode="mlkem768",
            name=name,
            source_changes={"source": source, "metrics": metrics[0]},
            dest_changes={"dest": {"target_connect_timeout_ms": 1000}, "metrics": metrics[1]},
        )

    def __enter__(self) -> Place:
        self.pair.__enter__()
        assert self.pair.source and self.pair.dest
        self.source: Process = self.pair.source
        self.dest: Process = self.pair.dest
        return self

    def __exit__(self, *error: object) -> None:
        self.pair.__exit__(*error)

    def metric(self, page: int, name: str) -> float:
        """0 for one that is not there: a reason without a count."""
        url = f"http://127.0.0.1:{self.pages[page]}/metrics"
        with urllib.request.urlopen(url, timeout=20 * PATIENCE) as answer:
            text = answer.read().decode()
        found = re.search("^" + re.escape(name) + r" (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def refusals(self) -> dict[str, float]:
        reasons = ("timeout", "malformed", "too_large", "not_allowed", "unexpected")
        name = 'utun_streams_refused_total{reason="%s"}'
        return {reason: self.metric(0, name % reason) for reason in reasons}


def all_ended(clients: list[Client]) -> bool:
    return all([client.hear() for client in clients])


def nonsense(place: Place, bad: list[tuple[bytes, str]], address: str = "127.0.0.1") -> str:
    """All of them at the same time, whole and byte by byte; none has to wait for the timeout."""
    before = sum(place.refusals().values())
    clients = [Client(place.entry, words, address) for words, _ in bad]
    slow = [Client(place.entry, words, address) for words, _ in bad]
    for client in clients:
        client.say(len(client.words))
    for _ in range(max(len(words) for words, _ in bad)):
        for client in slow:
            if not client.hear() and client.said < len(client.words):
                client.say(1)
    wait_until(lambda: all_ended(clients + slow), 20, "all of them to be sent away")
    for (words, answer), whole, pieces in zip(bad, clients, slow, strict=True):
        for client in (whole, pieces):
            check(
                re.match(answer.encode("latin-1"), client.heard, re.DOTALL),
                f"the answer to {words[:60]!r} is {client.heard[:200]!r}",
            )
    wait_until(
        lambda: sum(place.refusals().values()) == before + 2 * len(bad),
        10,
        f"{2 * len(bad)} refusals more than {before}: {place.refusals()}",
    )
    return f"{2 * len(bad)} clients"


def unfinished(place: Place, good: list[bytes], address: str = "127.0.0.1") -> str:
    """Each good request cut behind each of its bytes, all at the same time."""
    is_first = not place.source.events("stream.refused")
    before = place.refusals()["timeout"]
    cuts = [words[:length] for words in good for length in range(len(words))]
    clients = [Client(place.entry, cut, address) for cut in cuts]
    for client in clients:
        client.say(len(client.words))
    wait_until(lambda: place.metric(0, "utun_connections") == len(cuts), 10, "all to count")
    wait_until(lambda: all_ended(clients), 20, "all of them to be sent away")
    for client in clients:
        assert client.ended is not None
        seconds = client.ended - client.began
        check(seconds > TIMEOUT * 0.9, f"{client.words!r} was sent away after {seconds:.2f} s")
    check_equal(place.refusals()["timeout"], before + len(cuts), "refusals that are counted")
    if is_first:
        # The log takes ten of a kind in ten seconds.
        place.source.wait_event("stream.refused", error="timeout")
        lines = place.source.events("stream.refused", error="timeout")
        check(0 < len(lines) < len(cuts), f"{len(lines)} lines for {len(cuts)} clients")
        check("connection_timeout_ms" in lines[0]["detail"], f"the log says {lines[0]}")
    return f"{len(cuts)} clients"


def nothing_is_left(place: Place, descriptors: list[int]) -> None:
    def is_back() -> bool:
        now = [place.source.fd_count(), place.dest.fd_count()]
        return now <= descriptors and place.metric(0, "utun_connections") == 0

    wait_until(is_back, 15, "both roles to close descriptors")
    with Conversation(place.service.port) as talk:
        talk.say(b"served as before")
        talk.finish()


def silent_target(place: Place) -> str:
    """Its queue is full: its clients are reset after target_connect_timeout_ms, counted and
    logged, and nobody tries it any more."""
    with socket.socket() as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(("127.0.0.1", place.dead.target_port))
        full.listen(0)
        kept = []
        for _ in range(3):
            kept.append(socket.socket())
            kept[-1].setblocking(False)
            kept[-1].connect_ex(("127.0.0.1", place.dead.target_port))
        clients = [Client(place.dead.port, b"") for _ in range(20)]
        wait_until(lambda: all_ended(clients), 20, "all of them to be reset")
        for client in clients:
            assert client.ended is not None
            check(client.ended - client.began > 0.9, "it was not waited for")
        name = place.dead.table()["name"]
        closed = f'utun_streams_closed_total{{service="{name}",result="timeout"}}'
        check_equal(place.metric(1, closed), len(clients), "streams that timed out")
        failed = {"result": "failed", "reason": "timeout"}
        place.dest.wait_event("audit.stream", count=len(clients), **failed)
        lines = place.dest.events("audit.stream", **failed)
        check_equal(len(lines), len(clients), "audit lines")
        failures = place.metric(1, "utun_target_connect_failures_total")
        check(failures > 0, "no failure is counted")
        wait_until(lambda: place.metric(1, "utun_targets_down") == 0, 10, "nobody to wait")
        failures = place.metric(1, "utun_target_connect_failures_total")
        time.sleep(0.5)
        after = place.metric(1, "utun_target_connect_failures_total")
        check_equal(after, failures, "failures when nobody asks for it any more")
        for sock in kept:
            sock.close()
    return f"{len(clients)} clients"


SOCKS_FAILED = r"\x05\x00\x05[\x01\x07\x08]\x00\x01\x00{6}$"
BAD_SOCKS = [
    (b"\x05\x01\x02", r"\x05\xff$"),
    (b"\x05\x00", r"\x05\xff$"),
    (b"\x05\x03\x01\x02\x80", r"\x05\xff$"),
    (SOCKS_HELLO + b"\x05\x02\x00\x01", SOCKS_FAILED),
    (SOCKS_HELLO + b"\x05\x00\x00\x01", SOCKS_FAILED),
    (SOCKS_HELLO + b"\x05\x01\x00\x02", SOCKS_FAILED),
    (SOCKS_HELLO + b"\x05\x01\x00\x03\x00\x00\x50", SOCKS_FAILED),
    (SOCKS_HELLO + b"\x05\x01\x00\x03\x03a\x00b\x00\x50", SOCKS_FAILED),
    (SOCKS_HELLO + b"\x04\x01\x00\x01", SOCKS_FAILED),
]
BAD_HTTP = [
    (b"GET http://web/ HTTP/1.1\r\nHost: web\r\n\r\n", "HTTP/1.1 405 "),
    (b"BREW /pot HTTP/1.1\r\nHost: pot\r\n\r\n", "HTTP/1.1 501 "),
    (b"CONNECT web HTTP/1.0\r\n\r\n", "HTTP/1.1 400 "),
    (b"CONNECT web:0x50 HTTP/1.0\r\n\r\n", "HTTP/1.1 400 "),
    (b"CONNECT web:65536 HTTP/1.0\r\n\r\n", "HTTP/1.1 400 "),
    (b"CONNECT web:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
    (b"CONNECT web:1 HTTP/3.0\r\n\r\n", "HTTP/1.1 505 "),
    (b"CONNECT web:1 HTTP/1.0\n\n", "HTTP/1.1 400 "),
    (b"CONNECT web:1 HTTP/1.1\r\nHost : web\r\n\r\n", "HTTP/1.1 400 "),
]
BAD_OTHER = [(b"\x16\x03\x01\x02\x00", "$"), (b"\x04\x01\x00\x50", "$"), (b"\x00", "$")]
BAD_HEADERS = [
    (b"GET / HTTP/1.0\r\n\r\n", "$"),
    (b"PROXY TCP4 198.51.100.9 192.0.2.80 65536 443\r\n", "$"),
    (b"PROXY TCP4 198.51.100.9 192.0.2.80 04711 443\r\n", "$"),
    (b"PROXY TCP4 198.51.100.9 192.0.2.80 4711\r\n", "$"),
    (b"PROXY TCP4 2001:db8::1 192.0.2.80 4711 443\r\n", "$"),
    (b"PROXY TCP4 198.51.100.9 192.0.2.80 4711 443 1\r\n", "$"),
    (b"PROXY TCP4 198.51.100.9 192.0.2.80 4711 443\n", "$"),
    (b"PROXY UDP4 198.51.100.9 192.0.2.80 4711 443\r\n", "$"),
    (b"PROXY " + b"x" * 200, "$"),
    (SIGNATURE[:11] + b"\x0b", "$"),
    (header_v2(command=0x31), "$"),
    (header_v2(command=0x22), "$"),
    (header_v2(family=0x12), "$"),
    (header_v2(family=0x41), "$"),
    (header_v2(size=11), "$"),
    (header_v2(size=0xFFFF), "$"),
]
BAD_LOGINS = [
    (b"\x05\x01\x00", r"\x05\xff$"),
    (LOGIN_HELLO + b"\x05\x05alice", r"\x05\x02"),
    (LOGIN_HELLO + b"\x01\x05alice\x05wrong", r"\x05\x02\x01[^\x00]$"),
    (LOGIN_HELLO + b"\x01\x00\x00", r"\x05\x02\x01[^\x00]$"),
]


def main() -> int:
    with Suite("hostile clients") as suite, Echo(suite.folder, suite.ports) as echo:
        with Place(suite, "open", echo) as place:
            before = [place.source.fd_count(), place.dest.fd_count()]
            name, port = place.service.table()["name"].encode(), place.service.port
            good = [
                SOCKS_HELLO + request(name, port),
                b"CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (name, port, name, port),
            ]
            headers = [b"PROXY TCP4 198.51.100.9 192.0.2.80 4711 443\r\n", header_v2()]
            suite.run("requests cut anywhere", unfinished, place, good)
            suite.run("headers cut anywhere", unfinished, place, headers, BALANCER)
            suite.run("malformed SOCKS5", nonsense, place, BAD_SOCKS)
            suite.run("malformed HTTP", nonsense, place, BAD_HTTP)
            suite.run("neither", nonsense, place, BAD_OTHER)
            suite.run("malformed PROXY protocol", nonsense, place, BAD_HEADERS, BALANCER)
            suite.run("a target that is silent", silent_target, place)
            suite.run("nothing is left of all that", nothing_is_left, place, before)
        users = suite.folder / "users"
        users.write_text("alice:correct horse\n")
        users.chmod(0o600)
        with Place(suite, "users", echo, users) as place:
            before = [place.source.fd_count(), place.dest.fd_count()]
            good = [LOGIN_HELLO + LOGIN + request(b"x", 1)]
            suite.run("logins cut anywhere", unfinished, place, good)
            suite.run("malformed and wrong logins", nonsense, place, BAD_LOGINS)
            suite.run("nothing is left of them", nothing_is_left, place, before)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
