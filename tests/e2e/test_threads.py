#!/usr/bin/env python3
"""Everything that crosses threads, at once, with 1, 2 and 8 workers at each end: clients of TCP and
UDP, sessions that are cut and replaced, keys that are renewed, pages that are asked for, files that
change, a drain. Every answer is checked. It finds the most where the program is built with
-Db_sanitize=thread (make tsan): a race is then an exit status that is not 0."""

from __future__ import annotations

import sys
import threading
import time
import urllib.request
from collections.abc import Callable

from harness.broken import DEST, SOURCE
from harness.chaos import Chaos
from harness.datagrams import Client, UdpEcho
from harness.echo import Echo, Pulse, exchange
from harness.process import PATIENCE, raise_descriptor_limit
from harness.suite import LONG, Suite, check
from harness.utun import Authority, Pair, Service

SECONDS = 20.0 if LONG else 3.0
CLIENTS = 4
CUT_EVERY = 1.5 * PATIENCE


class Busy:
    """Something done again and again, in a thread of its own, until the end; its error is raised."""

    def __init__(self, name: str, do: Callable[[], object]) -> None:
        self.name = name
        self.do = do
        self.times = 0
        self.error: Exception | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.do()
                self.times += 1
        except Exception as e:
            self.error = e

    def __enter__(self) -> Busy:
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.over.set()
        self.thread.join(60 * PATIENCE)
        if kind is None:
            if self.error:
                raise self.error
            check(not self.thread.is_alive(), f"{self.name} has not ended")
            check(self.times > 0, f"{self.name}: not once")


def fetch(port: int) -> None:
    for page in ("metrics", "status", "health"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=20 * PATIENCE) as r:
            check(r.read(), f"/{page} is empty")


def everything_at_once(suite: Suite, workers: int, echo: Echo, udp: UdpEcho) -> str:
    tcp_service = Service(suite.ports.take(), echo.port)
    udp_service = Service(suite.ports.take_both(), udp.port, protocol="udp")
    pages = {role: suite.ports.take() for role in ("source", "dest")}
    folder = suite.folder / f"workers-{workers}"
    folder.mkdir()
    changes = {
        role: {
            role: {"workers": workers},
            "crypto": {
                "kem_mode": "mlkem768",
                "key_rotation_interval_seconds": 2,
                "rehandshake_before_expiry_seconds": 1,
            },
            "metrics": {"enabled": True, "metrics_port": pages[role]},
        }
        for role in ("source", "dest")
    }
    changes["source"]["source"] |= SOURCE | {"connection_refresh_interval_secs": 2}
    changes["dest"]["dest"] |= DEST
    pair = Pair(
        folder,
        suite.ports,
        [tcp_service, udp_service],
        Authority(folder),
        name=f"threads-{workers}",
        source_changes=changes["source"],
        dest_changes=changes["dest"],
    )
    relay = Chaos(folder, suite.ports, pair.tunnel_port, f"threads-{workers}-chaos")
    pair.source_table["source"]["dest_tunnel_port"] = relay.port

    def cut() -> None:
        time.sleep(CUT_EVERY)
        relay.do("rst")

    def touch() -> None:
        time.sleep(0.5)
        for role in ("source", "dest"):
            path = folder / f"threads-{workers}-{role}.toml"
            path.write_text(path.read_text() + "\n")

    busy = [Busy(f"client {n}", lambda: exchange(tcp_service.port)) for n in range(CLIENTS)]
    talkers = [Client(udp_service.port) for _ in range(2)]
    busy += [Busy("a UDP client", lambda t=t: t.try_until_answered(30)) for t in talkers]
    busy += [Busy(f"pages of the {r}", lambda r=r: fetch(pages[r])) for r in pages]
    busy += [Busy("cuts", cut), Busy("changes of the files", touch)]
    with relay, pair, Pulse(tcp_service.port, every=0.02) as pulse:
        begun: list[Busy] = []
        try:
            for one in busy:
                begun.append(one.__enter__())
            time.sleep(SECONDS)
        finally:
            for one in begun:
                one.over.set()
        for one in begun:
            one.__exit__(None)
        check(pulse.waits, "somebody who types got no answer")
    for talker in talkers:
        talker.sock.close()
    connections = sum(one.times for one in busy[:CLIENTS])
    return f"{connections} connections, {len(pulse.waits)} words, {busy[-2].times} cuts"


def main() -> int:
    raise_descriptor_limit()
    with Suite("threads") as suite:
        with Echo(suite.folder, suite.ports) as echo, UdpEcho(suite.folder, suite.ports) as udp:
            for workers in (1, 2, 8):
                name = f"{workers} worker{'s' if workers > 1 else ''} at each end"
                suite.run(name, everything_at_once, suite, workers, echo, udp)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
