"""Peers that break the handshake's rules, made with Python's own TLS and not with UTun's code.

They speak kem_mode mceliece460896, whose TLS part (X25519, ECDSA) every TLS library has. Each comes
from an address of its own, so that the limit on handshakes from one address does not meet them.
"""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from harness.utun import Identity

ALPN = "utun/1"
VERSION = 1
MODE_HYBRID, MODE_MCELIECE = 1, 3
OFFER, KEM_KEY, ANSWER, ABORT = 1, 2, 3, 4
KEM_KEY_SIZE = 524_160
SECONDS = 45.0

addresses = (f"127.1.{high}.{low}" for high in itertools.count(0) for low in range(1, 255))


def connect(port: int) -> socket.socket:
    """From the next unused address."""
    return socket.create_connection(
        ("127.0.0.1", port), timeout=SECONDS, source_address=(next(addresses), 0)
    )


def context(ca: Path, identity: Identity | None, alpn: str | None = ALPN) -> ssl.SSLContext:
    """A TLS client's that trusts the CA and shows this certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(ca)
    if identity:
        made.load_cert_chain(identity.cert, identity.key)
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def shake_hands(port: int, tls: ssl.SSLContext) -> ssl.SSLSocket:
    return tls.wrap_socket(connect(port), server_hostname="127.0.0.1")


def shake_hands_but(port: int, tls: ssl.SSLContext, left_out: int) -> socket.socket:
    """All that a client says in a handshake, but so many bytes at the end."""
    sock = connect(port)
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(heard, said, server_hostname="127.0.0.1")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(said.read())
            heard.write(sock.recv(65536))
    words = said.read()
    sock.sendall(words[: len(words) - left_out])
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    """What the other side still says; an alert or a reset is also an end."""
    got = bytearray()
    try:
        while piece := sock.recv(65536):
            got += piece
    except (ssl.SSLError, ConnectionError):
        pass
    return bytes(got)


# -- messages inside TLS (PROTOCOL 3.2)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!B", kind) + len(body).to_bytes(3, "big") + body


def offer(version: int = VERSION, mode: int = MODE_MCELIECE, flags: int = 0) -> bytes:
    return message(OFFER, struct.pack("!HBB", version, mode, flags) + os.urandom(16) + bytes(48))


def kem_key(size: int = KEM_KEY_SIZE) -> bytes:
    return message(KEM_KEY, os.urandom(size))


def finish_handshake(port: int, tls: ssl.SSLContext) -> socket.socket:
    """A session whose keys this peer does not know: TLS, OFFER, a key made up, and the ANSWER.

    What is returned speaks no TLS any more: records come next.
    """
    sock = shake_hands(port, tls)
    sock.sendall(offer() + kem_key())
    answer = sock.recv(4096)
    assert answer[0] == ANSWER, f"{answer[:4]!r} instead of an ANSWER"
    raw = socket.socket(fileno=sock.detach())
    raw.settimeout(SECONDS)
    return raw


# -- a dest that is none


class FalseDest:
    """Listens where a source looks for its dest, and does with each connection what it is told."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.behave = behave
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.taken.append(sock)
            sock.settimeout(SECONDS)
            try:
                self.behave(sock)
            except (OSError, ssl.SSLError):
                pass  # the source's log is what counts

    def __enter__(self) -> FalseDest:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.taken:
            sock.close()


def server_context(ca: Path, identity: Identity, alpn: str | None = ALPN) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(identity.cert, identity.key)
    made.load_verify_locations(ca)
    made.verify_mode = ssl.CERT_REQUIRED
    made.num_tickets = 0
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def tls_server(tls: ssl.SSLContext, say: bytes = b"", close: bool = True) -> Callable:
    """Behaviour: a whole TLS handshake, then these bytes inside it."""

    def behave(sock: socket.socket) -> None:
        wrapped = tls.wrap_socket(sock, server_side=True)
        if say:
            wrapped.sendall(say)
        if close:
            read_to_end(wrapped)
            wrapped.close()
        else:
            kept.append(wrapped)

    return behave


# Connections that stay open on purpose.
kept: list[socket.socket] = []
