"""A UDP echo service, and clients that check what comes back.

Run as a program it is the service: datagrams.py HOST PORT.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

LARGEST = 65507
BUFFER = 1024 * 1024


def serve(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((host, port))
        while True:
            data, client = sock.recvfrom(LARGEST)
            sock.sendto(data, client)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

from harness.ports import Ports  # noqa: E402
from harness.process import PATIENCE, Process, receives, wait_until  # noqa: E402
from harness.servers import Server  # noqa: E402
from harness.suite import check  # noqa: E402


class UdpEcho(Server):
    """The service, in a process of its own; tell apart several in one folder by their name."""

    def __init__(
        self, folder: Path, ports: Ports, host: str = "127.0.0.1", name: str = "udp-echo"
    ) -> None:
        self.host = host
        self.name = name
        place = folder / name
        place.mkdir()
        super().__init__(place, ports)
        self.port = ports.take_both()

    def start(self) -> Process:
        return Process(
            self.name, [sys.executable, __file__, self.host, str(self.port)], self.folder
        )

    def __enter__(self) -> UdpEcho:
        self.process = self.start()
        wait_until(lambda: receives(self.port), 10, f"{self.name} to bind port {self.port}")
        return self


class Client:
    """One UDP client of a port. Every datagram has a number, so that none is taken for another."""

    count = 0

    def __init__(
        self, port: int, host: str = "127.0.0.1", seconds: float = 5.0, source: str = ""
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        if source:
            self.sock.bind((source, 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.sock.settimeout(seconds * PATIENCE)
        # Connected: an answer from any other address or port would not arrive.
        self.sock.connect((host, port))
        Client.count += 1
        self.number = Client.count
        self.said = 0

    def make(self, size: int = 64) -> bytes:
        """A datagram that no client has sent before; short ones can be told apart by less."""
        self.said += 1
        head = struct.pack("!II", self.number, self.said)
        return (head + os.urandom(max(size - len(head), 0)))[:size]

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    def receive(self) -> bytes:
        return self.sock.recv(LARGEST + 1)

    def ask(self, size: int = 64) -> None:
        """One goes there and back; what came late of earlier ones is passed over."""
        wanted = self.make(size)
        self.send(wanted)
        for _ in range(1000):
            got = self.receive()
            if got == wanted:
                return
            check(
                len(got) >= 8 and struct.unpack("!II", got[:8])[0] == self.number,
                f"{len(got)} bytes came that this client has not sent",
            )
        raise AssertionError("a thousand other datagrams came")

    def try_until_answered(self, seconds: float) -> int:
        """Asks again and again, as real clients do; how often it took."""
        self.sock.settimeout(0.2 * PATIENCE)
        asked = 0

        def answered() -> bool:
            nonlocal asked
            asked += 1
            try:
                self.ask()
            except (TimeoutError, ConnectionRefusedError):
                return False
            return True

        wait_until(answered, seconds, "an answer")
        return asked

    def is_silent(self, seconds: float = 0.5) -> bool:
        self.sock.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            return True
        return False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
