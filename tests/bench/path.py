"""A path of 100 ms and 1 Gbit/s: a stream through utun beside a plain TCP connection.

`shaper` makes the path out of two network namespaces; TCP itself meets the round trips.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.ports import Ports
from harness.process import Process, wait_until
from harness.utun import Authority, Daemon, Service, binary, dest_config, source_config, toml
from results import Results
from stand import Effort, at, ends, gigabits, tool, turned

MEGABITS, ONE_WAY_MS = 1000, 50
QUEUE = MEGABITS * 1_000_000 // 8 * 2 * ONE_WAY_MS // 1000  # what is on its way: a usual buffer
NEAR, FAR = "10.99.0.1", "10.99.0.2"
PLAIN = "plain TCP"
MEASURED = 3.0  # seconds, once the rate is found
RATE_FOUND = 0.9


def why_not() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun"
    return ""


class Path100:
    """The shaper, and the two namespaces as nsenter takes them."""

    def __init__(self, folder: Path) -> None:
        argv = [tool("shaper"), str(MEGABITS), str(ONE_WAY_MS), str(QUEUE)]
        self.shaper = Process("shaper", argv, folder)
        line = wait_until(self.first_line, 10, "the shaper's namespaces")
        self.near, self.far = str(line).split()[1:3]

    def first_line(self) -> str:
        if not self.shaper.is_running():
            raise RuntimeError(f"shaper: {self.shaper.tail()}")
        return self.shaper.out_path.read_text().partition("\n")[0]

    def start(self, role: str, namespace: str, folder: Path, config: dict) -> Daemon:
        path = folder / f"path-{role}.toml"
        path.write_text(toml(config))
        argv = [binary(), role, "--config", path, "--log-format", "json"]
        inside = ["nsenter", f"--net={namespace}", "--", *argv]
        return Daemon(f"path-{role}", inside, folder)


def seconds_to_rate(tenths: list[float], rate: float) -> float:
    """How long it took until a tenth of a second carried RATE_FOUND of what came to be usual."""
    for number, carried in enumerate(tenths):
        if carried * 8 / 0.1 / 1e9 >= RATE_FOUND * rate:
            return (number + 1) / 10
    return len(tenths) / 10


def measure(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    why = why_not()
    if why:
        results.missing["path"] = why
        return
    path = Path100(folder)
    authority = Authority(folder, "path-ca")
    own = authority.issue("server", "path-dest", "--ip-addresses", FAR)
    tunnel, target = ports.take(), ports.take()
    service = Service(ports.take(), target)
    paths = {"auth": {"server_cert_path": own.cert, "server_key_path": own.key}}
    config = dest_config(tunnel, [service], authority, {"dest": {"listen_ip": FAR}} | paths)
    dest = path.start("dest", path.far, folder, config)
    dest.wait_event("dest.ready", seconds=15)
    config = source_config(tunnel, [service], authority, {"source": {"dest_host": FAR}})
    source = path.start("source", path.near, folder, config)
    source.wait_event("session.up", seconds=15)
    places = [
        (PLAIN, at(target, FAR), at(target, "0.0.0.0")),
        ("utun", at(service.port), at(target)),
    ]
    for number in range(effort.path_rounds):
        for way in ("down",) if effort.is_quick else ("up", "down"):
            for name, entry, listen in turned(places, number):
                options = ("--warm", effort.path_warm, "--near", path.near, "--far", path.far)
                said = ends(*options, "bulk", entry, listen, way, 1, MEASURED, seconds=60)
                rate = gigabits(said)
                results.of(f"path {way}", "Gbit/s", 3).add(name, rate)
                found = results.of(f"path {way}, rate found after", "s", 1)
                found.add(name, seconds_to_rate(said["tenths"], rate))
    for process in (source, dest, path.shaper):
        process.stop()
