"""Strangers in their thousands, each from an address of its own.

Run as a program: flood.py PORT RATE CA-CERT. Until it is told to end it opens RATE connections a second
to PORT, which in turn are silent, send half a ClientHello, a whole one, one byte now and then, or garbage;
beside them some make valid TLS without a certificate, as many as get through. At the end it prints how
many of each kind there were, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path

IP_BIND_ADDRESS_NO_PORT = 24
OPEN_AT_MOST = 3000  # the oldest is closed to make room
TLS_THREADS = 2
TICK = 0.01

over = threading.Event()
counts: Counter[str] = Counter()
addresses = (f"127.{a}.{b}.{c}" for a in range(2, 200) for b in range(256) for c in range(1, 255))
lock = threading.Lock()


def next_socket() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    with lock:
        address = next(addresses)
    sock.bind((address, 0))
    return sock


def context(ca: str) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=ca)
    tls.set_alpn_protocols(["utun/1"])
    return tls


def client_hello(tls: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    try:
        tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def shake_hands(port: int, tls: ssl.SSLContext) -> None:
    """Valid TLS, but no certificate where one is asked for."""
    while not over.is_set():
        try:
            with next_socket() as sock:
                sock.settimeout(15)
                sock.connect(("127.0.0.1", port))
                with tls.wrap_socket(sock, server_hostname="127.0.0.1") as wrapped:
                    counts["tls_without_certificate"] += 1
                    wrapped.recv(1)
        except OSError:
            counts["tls_refused"] += 1
            time.sleep(0.02)


def flood(port: int, rate: int, hello: bytes) -> None:
    words = {
        "silent": b"",
        "half_a_hello": hello[: len(hello) // 2],
        "hello": hello,
        "drip": hello[:1],
        "garbage": os.urandom(2048),
    }
    kinds = itertools.cycle(words)
    selector = selectors.DefaultSelector()
    opened: deque[socket.socket] = deque()
    dripping: deque[socket.socket] = deque(maxlen=200)
    started = time.monotonic()
    done = 0

    def drop(sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            selector.unregister(sock)
            sock.close()

    while not over.is_set():
        due = int((time.monotonic() - started) * rate)
        for _ in range(min(due - done, rate // 4)):
            kind = next(kinds)
            sock = next_socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            try:
                sock.send(words[kind])
            except OSError:
                pass
            selector.register(sock, selectors.EVENT_READ)
            opened.append(sock)
            counts[kind] += 1
            if kind == "drip":
                dripping.append(sock)
        done = max(done, due)
        for key, _ in selector.select(TICK):
            try:
                gone = not key.fileobj.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                gone = True
            if gone:
                counts["closed_by_the_dest"] += 1
                drop(key.fileobj)
        for sock in list(dripping):
            try:
                sock.send(b"\x01")
            except OSError:
                dripping.remove(sock)
        while len(opened) > OPEN_AT_MOST:
            drop(opened.popleft())
        while opened and opened[0].fileno() < 0:
            opened.popleft()


def main() -> int:
    port, rate, ca = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from harness.process import raise_descriptor_limit

    raise_descriptor_limit()
    os.nice(5)  # what attackers' own machines would do
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    tls = context(ca)
    for _ in range(TLS_THREADS):
        threading.Thread(target=shake_hands, args=(port, tls), daemon=True).start()
    started = time.monotonic()
    print("flooding", flush=True)
    flood(port, rate, client_hello(tls))
    counts["seconds"] = round(time.monotonic() - started)
    print(json.dumps(counts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
