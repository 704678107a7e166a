"""A TCP relay that breaks what it carries, on command, in the ways in which networks do.

Run as a program it is the relay: chaos.py LISTEN-PORT TARGET-PORT CONTROL-PORT.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.ports import Ports
from harness.process import Process
from harness.servers import Server

PIECE = 256 * 1024
ABORT = struct.pack("ii", 1, 0)


class Side:
    """One of a connection's two sockets, and what waits to be written to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting = b""
        self.other: Side
        self.ended = False  # its FIN has been read
        self.turns = -1  # of the side that connects, while it is counted: how often they took turns


class Relay:
    def __init__(self, listen: int, target: int, control: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.target = target
        self.sides: set[Side] = set()
        self.stalled: set[Side] = set()  # not read from, not written to
        self.holes: set[Side] = set()  # what they send is lost
        self.refuses = False
        self.is_late = False
        for port, handler in ((listen, self.on_client), (control, self.on_command)):
            listener = socket.create_server(("127.0.0.1", port), backlog=64)
            self.selector.register(listener, selectors.EVENT_READ, handler)

    def run(self) -> None:
        while True:
            for key, events in self.selector.select():
                if callable(key.data):
                    key.data(key.fileobj)
                elif key.data in self.sides:
                    self.on_ready(key.data, events)

    # -- connections

    def on_client(self, listener: socket.socket) -> None:
        near, _ = listener.accept()
        if self.refuses:
            self.abort(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target), timeout=2)
        except OSError:
            self.abort(near)
            return
        pair = [Side(near), Side(far)]
        pair[0].turns = 0 if self.is_late else -1
        for side, other in zip(pair, reversed(pair)):
            side.sock.setblocking(False)
            side.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.other = other
            self.sides.add(side)
            self.selector.register(side.sock, selectors.EVENT_READ, side)

    @staticmethod
    def abort(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()

    def drop(self, side: Side, abort: bool) -> None:
        for one in (side, side.other):
            if one not in self.sides:
                continue
            for group in (self.sides, self.stalled, self.holes):
                group.discard(one)
            if one.sock in self.selector.get_map():
                self.selector.unregister(one.sock)
            if abort:
                self.abort(one.sock)
            else:
                one.sock.close()

    def watch(self, side: Side) -> None:
        events = 0
        if side not in self.stalled:
            if not side.ended and not side.other.waiting:
                events |= selectors.EVENT_READ
            if side.waiting:
                events |= selectors.EVENT_WRITE
        known = side.sock in self.selector.get_map()
        if events and known:
            self.selector.modify(side.sock, events, side)
        elif events:
            self.selector.register(side.sock, events, side)
        elif known:
            self.selector.unregister(side.sock)

    def on_ready(self, side: Side, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = side.sock.recv(PIECE)
                side.ended = not data
                if side in self.holes:
                    pass
                elif data:
                    self.count_turn(side)
                    side.other.waiting = data
                    self.flush(side.other)
                else:
                    side.other.sock.shutdown(socket.SHUT_WR)
            if events & selectors.EVENT_WRITE:
                self.flush(side)
        except OSError:
            self.drop(side, abort=True)
            return
        if side.ended and side.other.ended and not side.waiting and not side.other.waiting:
            self.drop(side, abort=False)
            return
        self.watch(side)
        self.watch(side.other)

    def count_turn(self, side: Side) -> None:
        """The far side's second answer is the end of a handshake: there a late one stops."""
        if side.turns == 1:
            side.turns = 2
        elif side.other.turns in (0, 2):
            side.other.turns += 1
            if side.other.turns == 3:
                self.stalled.add(side.other)

    def flush(self, side: Side) -> None:
        try:
            side.waiting = side.waiting[side.sock.send(side.waiting) :]
        except BlockingIOError:
            pass

    # -- commands

    def on_command(self, listener: socket.socket) -> None:
        with listener.accept()[0] as sock:
            word = sock.recv(64).decode()
            count = len(self.sides) // 2
            getattr(self, f"do_{word}")()
            sock.sendall(str(count).encode())

    def do_fin(self) -> None:
        """Both ends see a FIN in the middle of everything; what is under way is lost."""
        for side in list(self.sides):
            side.waiting = b""
            self.holes.add(side)
            self.stalled.discard(side)
            try:
                side.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.watch(side)

    def do_rst(self) -> None:
        for side in list(self.sides):
            self.drop(side, abort=True)

    def do_stall(self) -> None:
        for side in self.sides:
            self.stalled.add(side)
            self.watch(side)

    def do_late(self) -> None:
        """From now on who connects comes through its handshake, and then no further before go."""
        self.is_late = True

    def do_go(self) -> None:
        self.is_late = False
        for side in list(self.stalled):
            self.stalled.discard(side)
            self.watch(side)

    def do_blackhole(self) -> None:
        """What is connected now hears nothing any more; new connections are carried."""
        for side in self.sides:
            side.waiting = b""
            self.holes.add(side)
            self.watch(side)

    def do_refuse(self) -> None:
        """An outage: nothing is carried, and nobody gets through."""
        self.refuses = True
        self.do_rst()

    def do_deny(self) -> None:
        """What is connected goes on; nobody else gets through."""
        self.refuses = True

    def do_carry(self) -> None:
        self.refuses = False


class Chaos(Server):
    """The relay, in a process of its own, to the port that it stands for."""

    def __init__(self, folder: Path, ports: Ports, target: int, name: str) -> None:
        self.name = name
        self.target = target
        self.control = ports.take()
        place = folder / name
        place.mkdir()
        super().__init__(place, ports)

    def start(self) -> Process:
        argv = [sys.executable, __file__, str(self.port), str(self.target), str(self.control)]
        return Process(f"{self.name}-relay", argv, self.folder)

    def __enter__(self) -> Chaos:
        super().__enter__()
        assert self.process
        self.process.wait_listening(self.control)
        return self

    def do(self, word: str) -> int:
        """fin, rst, stall, late, go, blackhole, refuse, deny, carry; how many connections there were."""
        with socket.create_connection(("127.0.0.1", self.control), timeout=10) as sock:
            sock.sendall(word.encode())
            return int(sock.recv(64))


if __name__ == "__main__":
    Relay(*map(int, sys.argv[1:4])).run()
