"""What TCP gives the two programs at its ends, case by case. tcp_matrix.py runs them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tcp_ends import (
    AT_ONCE,
    Both,
    Differs,
    KIB,
    MIB,
    PATIENCE,
    RESETS,
    amount,
    await_fin_taken,
    compare,
    expect,
    expect_end,
    expect_failing_writes,
    finish,
    instead_of,
    name_of,
    pattern,
    receive,
    receive_all,
    reset,
    send,
    send_and_finish,
    send_until_blocked,
)

BULK = 8 * MIB


class Stage:
    """The client's address, the service's listener, and the connections between them."""

    def __init__(self, connect: tuple[str, int], listen: tuple[str, int], idle: float) -> None:
        self.connect_to = connect
        self.listen_at = listen
        self.unknown: tuple[str, int] | None = None
        self.idle = idle
        self.listener: socket.socket | None = None
        self.open: list[socket.socket] = []
        self.note = ""

    def listen(self, backlog: int = 1024) -> None:
        self.deafen()
        family = socket.AF_INET6 if ":" in self.listen_at[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.listen_at)
        listener.listen(backlog)
        self.listener = listener

    def deafen(self) -> None:
        """From here on the service's port refuses connections."""
        if self.listener:
            self.listener.close()
            self.listener = None

    def dial(self, timeout: float = PATIENCE) -> socket.socket:
        client = socket.create_connection(self.connect_to, timeout=timeout)
        client.settimeout(PATIENCE)
        self.open.append(client)
        return client

    def accept(self) -> socket.socket:
        assert self.listener
        self.listener.settimeout(PATIENCE)
        try:
            server, _ = self.listener.accept()
        except TimeoutError:
            raise Differs("the connection never reaches the service") from None
        server.settimeout(PATIENCE)
        self.open.append(server)
        return server

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.dial()
        return client, self.accept()

    def clear(self) -> None:
        """Between cases: no connection of one case may be taken for one of the next."""
        for sock in self.open:
            if sock.fileno() >= 0:
                reset(sock)
        self.open.clear()
        if self.listener is None:
            self.listen()
        assert self.listener
        self.listener.settimeout(0.05)
        while True:
            try:
                reset(self.listener.accept()[0])
            except TimeoutError:
                return


class NotAsked(Exception):
    """The case does not apply; it counts neither way."""


@dataclass
class Case:
    name: str
    text: str
    run: Callable[[Stage], None]


CASES: list[Case] = []


def case(name: str, text: str) -> Callable:
    """A case for the whole stage."""

    def register(function: Callable[[Stage], None]) -> Callable:
        CASES.append(Case(name, text, function))
        return function

    return register


def case_of_roles(name: str, text: str, times: int = 1) -> Callable:
    """A case for (stage, acting socket, other socket), run with either side acting.

    In the text, {a} is the side that acts and {b} the other. What a forwarder may do by turns one
    way and the other is tried several times.
    """

    def register(function: Callable[[Stage, socket.socket, socket.socket], None]) -> Callable:
        def client_acts(stage: Stage) -> None:
            for _ in range(times):
                client, server = stage.pair()
                function(stage, client, server)

        def server_acts(stage: Stage) -> None:
            for _ in range(times):
                client, server = stage.pair()
                function(stage, server, client)

        CASES.append(Case(f"client-{name}", text.format(a="client", b="server"), client_acts))
        CASES.append(Case(f"server-{name}", text.format(a="server", b="client"), server_acts))
        return function

    return register


# ------------------------------------------------------------------------------------------------
# FIN


@case_of_roles("fin-then-data", "{a} FIN first, then {b} sends 8 MiB and FIN")
def fin_then_data(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    send_and_finish(a, b"request")
    expect(b, b"request")
    data = pattern("reply", BULK)
    with Both() as both:
        both.run(send_and_finish, b, data)
        both.run(expect, a, data)


@case("both-fin-at-once", "both send 1 MiB and FIN at once")
def both_fin_at_once(stage: Stage) -> None:
    client, server = stage.pair()
    up, down = pattern("up", MIB), pattern("down", MIB)
    with Both() as both:
        both.run(send_and_finish, client, up)
        both.run(send_and_finish, server, down)
        both.run(expect, client, down)
        both.run(expect, server, up)


@case("half-closed-idle", "half-closed and idle for {idle:.0f} s, then 1 MiB (both directions)")
def half_closed_idle(stage: Stage) -> None:
    pairs = [("client FIN: ", *stage.pair())]
    pairs.append(("server FIN: ", *reversed(stage.pair())))
    for _, a, b in pairs:
        greet(a, b)
        finish(a)
        expect(b, b"")
    time.sleep(stage.idle)
    data = pattern("late", MIB)
    for who, a, b in pairs:
        try:
            with Both() as both:
                both.run(send_and_finish, b, data)
                both.run(expect, a, data)
        except Differs as e:
            raise Differs(who + str(e)) from None


@case("client-fin-at-once", "client FIN straight after connect, no data; server sends 100 KiB")
def client_fin_at_once(stage: Stage) -> None:
    for _ in range(20):
        client = stage.dial()
        finish(client)
        answer_after_fin(client, stage.accept())


@case("server-fin-at-once", "server FIN straight after accept, no data; client sends 100 KiB")
def server_fin_at_once(stage: Stage) -> None:
    for _ in range(20):
        client, server = stage.pair()
        finish(server)
        answer_after_fin(server, client)


def answer_after_fin(a: socket.socket, b: socket.socket) -> None:
    expect(b, b"")
    data = pattern("answer", 100 * KIB)
    send_and_finish(b, data)
    expect(a, data)


@case_of_roles("data-with-fin", "{a}'s last bytes and FIN in one segment; {b} reads slowly")
def data_with_fin(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    data = pattern("last", 256 * KIB)

    def write() -> None:
        a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        send_and_finish(a, data)

    with Both() as both:
        both.run(write)
        time.sleep(0.5)
        expect(b, data, pause=0.02)
    send_and_finish(b, b"thanks")
    expect(a, b"thanks")


# ------------------------------------------------------------------------------------------------
# RST


def greet(a: socket.socket, b: socket.socket) -> None:
    """Afterwards every hop between the two is connected, and knows it."""
    for x, y in ((a, b), (b, a)):
        send(x, b"hello")
        receive(y, 5)


@case_of_roles("reset", "{a} RST: {b} sees ECONNRESET, not a FIN", times=20)
def reset_when_quiet(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    greet(a, b)
    reset(a)
    expect_end(b, "RST")


@case("client-reset-at-once", "client RST straight after connect, 50 times; then one is served")
def client_reset_at_once(stage: Stage) -> None:
    for _ in range(50):
        reset(stage.dial())
    deadline = time.monotonic() + PATIENCE
    client = stage.dial()
    send(client, b"alive?")
    while True:  # what reached the service of the fifty comes first, and ends with RST
        server = stage.accept()
        data, end = receive_all(server, enough=b"alive?")
        if data == b"alive?":
            break
        if end != "RST":
            raise Differs(instead_of("RST", end, PATIENCE))
        if time.monotonic() > deadline:
            raise Differs("hangs")
    send(server, b"yes")
    receive(client, 3)


@case("server-reset-at-once", "server RST straight after accept: client sees ECONNRESET")
def server_reset_at_once(stage: Stage) -> None:
    for _ in range(20):
        client, server = stage.pair()
        reset(server)
        expect_end(client, "RST")


@case_of_roles("reset-mid-transfer", "{a} RST while {b} sends: {b}'s writing fails")
def reset_mid_transfer(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    data = pattern("cut", 64 * MIB)
    failed: list[str] = []

    def write() -> None:
        try:
            b.sendall(data)
        except TimeoutError:
            failed.append("hangs")
        except OSError as e:
            failed.append("" if e.errno in RESETS else name_of(e))

    with Both() as both:
        both.run(write)
        compare(receive(a, MIB), data[:MIB], "FIN")
        reset(a)
    if not failed:
        raise Differs("64 MiB are taken although nobody reads")
    if failed[0]:
        raise Differs(failed[0])


@case_of_roles("reset-after-fin", "{a} sends 4 MiB, FIN, later RST: {b} gets every byte and FIN")
def reset_after_fin(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    send(b, pattern("never read", 64 * KIB))
    data = pattern("whole", 4 * MIB)

    def write() -> None:
        send_and_finish(a, data)
        await_fin_taken(a)
        a.close()  # unread data makes this a RST

    with Both() as both:
        both.run(write)
        both.run(expect, b, data, "FIN", 0.01)
    expect_failing_writes(b)


@case_of_roles(
    "reset-after-peer-fin", "{b} FIN, then {a} RST: {b} sees ECONNRESET, not a FIN", times=20
)
def reset_after_peer_fin(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    greet(a, b)
    finish(b)
    expect(a, b"")
    reset(a)
    expect_end(b, "RST")


@case_of_roles("half-closed-reset", "{a} FIN, {b} sends, {a} RST: {b}'s writing fails", times=20)
def half_closed_reset(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    greet(a, b)
    finish(a)
    expect(b, b"")
    send(b, b"going on")
    receive(a, 8)
    reset(a)
    expect_failing_writes(b)


@case_of_roles("data-then-reset", "{a} sends 64 KiB, then RST, no FIN: {b} sees ECONNRESET")
def data_then_reset(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    data = pattern("lost?", 64 * KIB)
    send(a, data)
    time.sleep(0.2)
    reset(a)
    b.settimeout(AT_ONCE)
    got, end = receive_all(b)
    if not data.startswith(got):
        raise Differs("altered bytes")
    if end != "RST":
        raise Differs(instead_of("RST", end, AT_ONCE))
    stage.note = f"{amount(len(got))} arrived"


@case_of_roles("close-unread", "{a} close() with unread data: {b} sees ECONNRESET")
def close_unread(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    send(b, pattern("unread", 10 * KIB))
    a.setblocking(True)
    a.recv(1)
    time.sleep(0.2)
    a.close()
    expect_end(b, "RST")


@case_of_roles("shutdown-read", "{a} shutdown(SHUT_RD): its own 1 MiB still arrives")
def shutdown_read(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    a.shutdown(socket.SHUT_RD)
    send(b, b"not wanted")
    # What comes after a's FIN would rightly be answered with a RST, so it must come before.
    deadline = time.monotonic() + PATIENCE
    while len(a.recv(100, socket.MSG_PEEK)) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    data = pattern("one way", MIB)
    with Both() as both:
        both.run(send_and_finish, a, data)
        both.run(expect, b, data)


# ------------------------------------------------------------------------------------------------
# Targets that are not there


def expect_refusal(address: tuple[str, int], within: float) -> str:
    """The connection is refused, or ends with a RST soon after; returns which."""
    try:
        client = socket.create_connection(address, timeout=within)
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "RST"  # so soon that connect() already tells
    except TimeoutError:
        return "no answer"
    client.settimeout(within)
    with client:
        got, end = receive_all(client)
    if end != "RST" or got:
        raise Differs(instead_of("RST", end, within))
    return "RST"


@case("target-refuses", "nothing listens at the target: client's connection is reset soon")
def target_refuses(stage: Stage) -> None:
    stage.deafen()
    stage.note = expect_refusal(stage.connect_to, AT_ONCE)


@case("target-silent", "the target never answers: client's connection is reset, not closed")
def target_silent(stage: Stage) -> None:
    stage.listen(backlog=0)
    fillers = []
    for _ in range(8):  # a full backlog: the kernel drops further SYNs
        filler = socket.socket(
            socket.AF_INET6 if ":" in stage.listen_at[0] else socket.AF_INET, socket.SOCK_STREAM
        )
        filler.setblocking(False)
        filler.connect_ex(stage.listen_at)
        fillers.append(filler)
    time.sleep(0.1)
    try:
        stage.note = expect_refusal(stage.connect_to, within=12.0)
    finally:
        for filler in fillers:
            filler.close()
        stage.deafen()


@case("unknown-service", "a port whose service the far side does not know: reset at once")
def unknown_service(stage: Stage) -> None:
    if stage.unknown is None:
        raise NotAsked("needs --unknown")
    stage.note = expect_refusal(stage.unknown, AT_ONCE)


# ------------------------------------------------------------------------------------------------
# Flow


@case_of_roles("stalled-reader", "{b} stalls on one connection: another still carries 8 MiB")
def stalled_reader(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    data = pattern("stalled", 48 * MIB)
    sent = send_until_blocked(a, data)
    client, server = stage.pair()
    moving = pattern("moving", BULK)
    started = time.monotonic()
    for x, y in ((client, server), (server, client)):
        with Both() as both:
            both.run(send_and_finish, x, moving)
            both.run(expect, y, moving)
    seconds = time.monotonic() - started
    finish(a)
    expect(b, data[:sent])
    stage.note = f"{amount(sent)} taken unread, 2 x 8 MiB beside it in {seconds:.1f} s"


@case("one-byte-writes", "3,000 one-byte writes each way")
def one_byte_writes(stage: Stage) -> None:
    client, server = stage.pair()
    data = pattern("bytes", 3000)

    def trickle(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            send(sock, data[at : at + 1])
        finish(sock)

    with Both() as both:
        both.run(trickle, client)
        both.run(trickle, server)
        both.run(expect, client, data)
        both.run(expect, server, data)


@case_of_roles("zero-window", "{b} reads nothing for 3 s, then everything: 8 MiB arrive")
def zero_window(stage: Stage, a: socket.socket, b: socket.socket) -> None:
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * KIB)
    data = pattern("patience", BULK)
    with Both() as both:
        both.run(send_and_finish, a, data)
        time.sleep(3.0)
        expect(b, data)


@case("both-ways", "8 MiB both ways at the same time")
def both_ways(stage: Stage) -> None:
    client, server = stage.pair()
    up, down = pattern("8 up", BULK), pattern("8 down", BULK)
    with Both() as both:
        both.run(send_and_finish, client, up)
        both.run(send_and_finish, server, down)
        both.run(expect, client, down)
        both.run(expect, server, up)


@case("short-connections", "200 short connections in a row")
def short_connections(stage: Stage) -> None:
    started = time.monotonic()
    for number in range(200):
        client, server = stage.pair()
        request, reply = f"request {number}".encode(), f"reply {number}".encode() * 50
        send_and_finish(client, request)
        expect(server, request)
        send_and_finish(server, reply)
        expect(client, reply)
        client.close()
        server.close()
        stage.open.clear()
    stage.note = f"{(time.monotonic() - started) * 5:.1f} ms each"
