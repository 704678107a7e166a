"""The bytes and the ends of TCP connections, as the cases of tcp_cases.py look at them."""

from __future__ import annotations

import errno
import random
import socket
import struct
import threading
import time
from collections.abc import Callable

KIB = 1024
MIB = 1024 * KIB

PATIENCE = 15.0  # seconds without a byte before a wait counts as a hang
AT_ONCE = 3.0  # seconds within which an end that has nothing to wait for must be seen
TCP_FIN_WAIT2 = 5
RESETS = (errno.ECONNRESET, errno.EPIPE)


class Differs(Exception):
    """The forwarder did not do what TCP does; the text says what was seen instead."""


def pattern(seed: str, size: int) -> bytes:
    """Bytes that no shift, loss or repetition leaves equal; the same for the same seed."""
    return random.Random(seed).randbytes(size)


def reset(sock: socket.socket) -> None:
    """Ends the connection with a RST: lingering for no time drops what is unsent."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def finish(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly size bytes."""
    got = bytearray()
    while len(got) < size:
        try:
            piece = sock.recv(min(size - len(got), 256 * KIB))
        except TimeoutError:
            raise Differs(f"hangs after {amount(len(got))} of {amount(size)}") from None
        except OSError as e:
            raise Differs(f"{name_of(e)} after {amount(len(got))} of {amount(size)}") from None
        if not piece:
            raise Differs(f"FIN after {amount(len(got))} of {amount(size)}")
        got += piece
    return bytes(got)


def receive_all(
    sock: socket.socket, pause: float = 0.0, enough: bytes | None = None
) -> tuple[bytes, str]:
    """Everything up to the end, and the end: "FIN", "RST", "nothing" or an errno's name.

    With `enough`, also stops as soon as exactly these bytes have come, and the end is "".
    """
    got = bytearray()
    while got != enough:
        try:
            piece = sock.recv(64 * KIB)
        except TimeoutError:
            return bytes(got), "nothing"
        except OSError as e:
            return bytes(got), "RST" if e.errno == errno.ECONNRESET else name_of(e)
        if not piece:
            return bytes(got), "FIN"
        got += piece
        if pause:
            time.sleep(pause)
    return bytes(got), ""


def expect(sock: socket.socket, data: bytes, end: str = "FIN", pause: float = 0.0) -> None:
    """Exactly these bytes, then this end."""
    got, seen = receive_all(sock, pause)
    compare(got, data, seen)
    if seen != end:
        raise Differs(instead_of(end, seen, sock.gettimeout()))


def expect_end(sock: socket.socket, end: str, within: float = AT_ONCE) -> None:
    sock.settimeout(within)
    expect(sock, b"", end)


def instead_of(wanted: str, seen: str, patience: float | None) -> str:
    if seen == "nothing":
        return f"open after {patience:.0f} s"
    return f"{seen} instead of {wanted}"


def compare(got: bytes, sent: bytes, end: str) -> None:
    if got == sent:
        return
    if sent.startswith(got):
        raise Differs(f"{end} after {amount(len(got))} of {amount(len(sent))}")
    raise Differs(f"altered bytes ({amount(len(got))} for {amount(len(sent))})")


def expect_failing_writes(sock: socket.socket, within: float = AT_ONCE) -> None:
    """Writing ends with the error of a connection that was reset, and does so soon."""
    sock.settimeout(within)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            sock.sendall(b"x" * 1000)
        except TimeoutError:
            break
        except OSError as e:
            if e.errno in RESETS:
                return
            raise Differs(f"write: {name_of(e)} instead of RST") from None
        time.sleep(0.02)
    raise Differs("writes go on after the peer's RST")


def send(sock: socket.socket, data: bytes, pause: float = 0.0, step: int = 64 * KIB) -> None:
    try:
        if not pause:
            sock.sendall(data)
        for at in range(0, len(data) if pause else 0, step):
            sock.sendall(data[at : at + step])
            time.sleep(pause)
    except TimeoutError:
        raise Differs("hangs while sending") from None
    except OSError as e:
        raise Differs(f"{name_of(e)} while sending") from None


def send_and_finish(sock: socket.socket, data: bytes) -> None:
    send(sock, data)
    finish(sock)


def send_until_blocked(sock: socket.socket, data: bytes, still: float = 1.0) -> int:
    """Sends until nothing more is taken for `still` seconds; how many bytes were taken."""
    sent = 0
    sock.settimeout(still)
    while sent < len(data):
        try:
            sent += sock.send(data[sent : sent + 256 * KIB])
        except TimeoutError:
            break
        except OSError as e:
            raise Differs(f"{name_of(e)} while sending") from None
    sock.settimeout(PATIENCE)
    return sent


def await_fin_taken(sock: socket.socket) -> None:
    """Until all that was sent, and the FIN, is acknowledged by the other end of this socket."""
    deadline = time.monotonic() + PATIENCE
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_FIN_WAIT2:
        if time.monotonic() > deadline:
            raise Differs("the FIN is never taken")
        time.sleep(0.002)


def name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def amount(size: int) -> str:
    if size >= MIB:
        return f"{size / MIB:.1f} MiB"
    return f"{size / KIB:.0f} KiB" if size >= 10 * KIB else f"{size} B"


class Both:
    """Runs functions at the same time; the first that differs is raised when all have ended."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def run(self, call: Callable, *args: object) -> None:
        def body() -> None:
            try:
                call(*args)
            except BaseException as e:  # carried to the waiting thread
                self.errors.append(e)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        self.threads.append(thread)

    def __enter__(self) -> Both:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for thread in self.threads:
            thread.join()
        if kind is None and self.errors:
            raise self.errors[0]
