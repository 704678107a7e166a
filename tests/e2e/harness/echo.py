"""An echo service, and clients that check every byte that comes back.

Run as a program it is the service: echo.py HOST PORT.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

CHUNK = 64 * 1024


async def serve(host: str, port: int) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, host, port, backlog=4096, reuse_address=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from harness.process import raise_descriptor_limit

    raise_descriptor_limit()
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
    sys.exit(0)

from harness.ports import Ports  # noqa: E402
from harness.process import PATIENCE, Process  # noqa: E402
from harness.servers import Server  # noqa: E402
from harness.suite import check  # noqa: E402


class Echo(Server):
    """The service, in a process of its own; tell apart several in one folder by their name."""

    def __init__(
        self, folder: Path, ports: Ports, host: str = "127.0.0.1", name: str = "echo"
    ) -> None:
        self.host = host
        self.name = name
        place = folder / name
        place.mkdir()
        super().__init__(place, ports)

    def start(self) -> Process:
        return Process(
            self.name, [sys.executable, __file__, self.host, str(self.port)], self.folder
        )

    def __enter__(self) -> Echo:
        self.process = self.start()
        self.process.wait_listening(self.port, self.host)
        return self


class Conversation:
    """One connection to an echo service; what is said has to come back, in order."""

    def __init__(self, port: int, host: str = "127.0.0.1", seconds: float = 20.0) -> None:
        self.sock = socket.create_connection((host, port), timeout=seconds * PATIENCE)

    def say(self, data: bytes) -> None:
        """Sends and, at the same time, receives and compares."""
        errors: list[OSError] = []

        def write() -> None:
            try:
                self.sock.sendall(data)
            except OSError as e:
                errors.append(e)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        at = 0
        while at < len(data):
            piece = self.sock.recv(256 * 1024)
            if not piece:
                # A reset is reported once: if the writer was told, reading looks like an end.
                writer.join(1)
                if errors:
                    raise errors[0]
            check(piece, f"the connection ended after {at} of {len(data)} bytes")
            check(data.startswith(piece, at), f"wrong bytes behind {at} of {len(data)}")
            at += len(piece)
        writer.join()
        if errors:
            raise errors[0]

    def finish(self) -> None:
        """FIN; the service's FIN has to come back."""
        self.sock.shutdown(socket.SHUT_WR)
        check(self.sock.recv(1) == b"", "bytes behind the last")
        self.sock.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class Pulse:
    """Somebody who types, in a thread of its own: a few bytes at a time, each answered before the
    next. Use it with `with`; at the end it says how long each answer took, and raises its error."""

    def __init__(self, port: int, every: float = 0.005, host: str = "127.0.0.1") -> None:
        self.every = every
        self.talk = Conversation(port, host)
        self.talk.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waits: list[float] = []
        self.error: Exception | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.type, daemon=True)

    def type(self) -> None:
        try:
            number = 0
            while not self.over.wait(self.every):
                number += 1
                said = number.to_bytes(8)
                started = time.monotonic()
                self.talk.sock.sendall(said)
                got = b""
                while len(got) < len(said):
                    piece = self.talk.sock.recv(len(said))
                    check(piece, f"the connection ended after {number} words")
                    got += piece
                self.waits.append(time.monotonic() - started)
                check(got == said, f"word {number} came back as {got!r}")
            self.talk.finish()
        except Exception as e:
            self.error = e

    def slowest(self) -> float:
        """Seconds, of all so far."""
        return max(self.waits, default=0.0)

    def take_slowest(self) -> float:
        """Seconds, of those since the last time this was asked."""
        waits, self.waits = self.waits, []
        return max(waits, default=0.0)

    def __enter__(self) -> Pulse:
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.over.set()
        self.thread.join(20 * PATIENCE)
        self.talk.sock.close()
        if kind is None:
            if self.error:
                raise self.error
            check(not self.thread.is_alive(), "the last word is still not answered")


def exchange(port: int, size: int = 100_000, host: str = "127.0.0.1") -> None:
    """One whole connection with so many random bytes each way."""
    with Conversation(port, host) as conversation:
        conversation.say(os.urandom(size))
        conversation.finish()


def crowd(ports: list[int], clients: int, size: int, seconds: float = 60.0) -> None:
    """So many clients, spread over the ports, all connected before the first says a byte."""

    async def one(number: int, connected: asyncio.Barrier) -> None:
        port = ports[number % len(ports)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await connected.wait()
        data = random.Random(number).randbytes(size)
        writer.write(data)
        writer.write_eof()
        got = await reader.read(-1)
        check(got == data, f"client {number}: {len(got)} bytes came back, or other ones")
        writer.close()

    async def everybody() -> None:
        connected = asyncio.Barrier(clients)
        async with asyncio.timeout(seconds * PATIENCE):
            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(one(number, connected))

    asyncio.run(everybody())
