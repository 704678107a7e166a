"""Ports that the kernel chose and that nobody else gets while the suite runs."""

from __future__ import annotations

import random
import socket
from pathlib import Path


class Ports:
    """Takes ports by binding to 0 and stays bound to them until the end.

    A server that sets SO_REUSEADDR (every one used here does) can listen on such a port although it
    is held, because the holding socket never listens. To the kernel the port is taken, so that it
    gives it to no outgoing connection and to no other bind to 0 in the meantime.
    """

    def __init__(self) -> None:
        self.held: list[socket.socket] = []

    def take(self) -> int:
        self.held.append(self.bind(0))
        return self.held[-1].getsockname()[1]

    def take_both(self) -> int:
        """For TCP and for UDP. Nothing can hold a UDP port and leave it to another: it is one that the
        kernel gives to nobody by itself, and is only seen to be free."""
        while True:
            port = self.take_run(1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("0.0.0.0", port))
                except OSError:
                    continue
                return port

    def take_run(self, length: int) -> int:
        """The first of `length` ports in a row.

        They lie below those that the kernel gives to connections: after a load test thousands of
        these linger for a minute, and no row is free.
        """
        end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        for _ in range(1000):
            first = random.randrange(min(10_000, end // 2), end - length)
            row: list[socket.socket] = []
            try:
                for port in range(first, first + length):
                    row.append(self.bind(port))
            except OSError:
                for holder in row:
                    holder.close()
                continue
            self.held += row
            return first
        raise RuntimeError(f"no {length} free ports in a row")

    @staticmethod
    def bind(port: int) -> socket.socket:
        """Bound for both families, or for IPv4 where there is no IPv6."""
        try:
            holder = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            anywhere = "::"
        except OSError:
            holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            anywhere = "0.0.0.0"
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((anywhere, port))
        except OSError:
            holder.close()
            raise
        return holder

    def __enter__(self) -> Ports:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self.held:
            holder.close()
