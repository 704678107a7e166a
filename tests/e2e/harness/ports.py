"""Ports that the kernel chose and that nobody else gets while the suite runs."""

from __future__ import annotations

import socket


class Ports:
    """Takes ports by binding to 0 and stays bound to them until the end.

    A server that sets SO_REUSEADDR (every one used here does) can listen on such a port although it
    is held, because the holding socket never listens. To the kernel the port is taken, so that it
    gives it to no outgoing connection and to no other bind to 0 in the meantime.
    """

    def __init__(self) -> None:
        self.held: list[socket.socket] = []

    def take(self) -> int:
        try:
            holder = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("::", 0))
        except OSError:
            holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("0.0.0.0", 0))
        self.held.append(holder)
        return holder.getsockname()[1]

    def take_run(self, length: int) -> int:
        """The first of `length` ports in a row."""
        for _ in range(200):
            first = self.take()
            row: list[socket.socket] = []
            try:
                for port in range(first + 1, first + length):
                    holder = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
                    row.append(holder)
                    holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    holder.bind(("::", port))
            except (OSError, OverflowError):
                for holder in row:
                    holder.close()
                continue
            self.held += row
            return first
        raise RuntimeError(f"no {length} free ports in a row")

    def __enter__(self) -> Ports:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self.held:
            holder.close()
