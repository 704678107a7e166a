"""utun beside ssh -L, a stunnel pair, an unencrypted HAProxy pair, a bare copy loop, and nothing."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.forwarders import FORWARDERS, Forwarder, Route
from harness.ports import Ports
from harness.process import run
from harness.servers import Nginx
from results import SUBJECT, Results
from stand import Effort, Watch, at, ends, gigabits, jain, settle, tool, turned

COPY_LOOP = "copy loop"
COMPARED = ("direct", "utun", COPY_LOOP, "ssh -L", "stunnel", "haproxy")
MANY = (8, 64)
WAYS = ("up", "down")


class CopyLoop(Forwarder):
    """The least that an encrypted pair can do. It forwards its first route only."""

    name = COPY_LOOP

    def start(self) -> None:
        route, middle = self.routes[0], self.ports.take()
        far = self.spawn("far", tool("copy_loop"), "far", str(middle), str(route.target))
        far.wait_listening(middle)
        near = self.spawn("near", tool("copy_loop"), "near", str(route.listen), str(middle))
        near.wait_listening(route.listen)

    def entry(self, route: Route) -> int:
        return route.listen


KINDS = FORWARDERS | {COPY_LOOP: CopyLoop}


@dataclass
class Place:
    """A forwarder with its entries and the ports that they lead to."""

    forwarder: Forwarder
    bulk: tuple[str, str]
    pings: tuple[str, str]
    nginx: int

    @property
    def name(self) -> str:
        return self.forwarder.name

    @property
    def carries_many(self) -> bool:
        return self.name != COPY_LOOP


def bulk(place: Place, way: str, streams: int, effort: Effort, *options: object) -> dict:
    words = ("bulk", *place.bulk, way, streams, effort.seconds)
    return ends("--warm", effort.warm, *options, *words, seconds=effort.seconds + 30)


def pings(place: Place, effort: Effort) -> dict:
    words = ("pings", *place.pings, 64, effort.seconds)
    return ends("--warm", effort.warm, *words, seconds=effort.seconds + 30)


def requests(place: Place, seconds: int, *options: str) -> float:
    """HTTP requests/s of 32 clients."""
    url = f"http://127.0.0.1:{place.nginx}/tiny"
    done = run(["wrk", "-t1", "-c32", f"-d{seconds}s", *options, url], seconds=seconds + 20)
    errors = re.search(r"Socket errors:.*|Non-2xx.*", done.stdout)
    if errors and not re.search(r"connect 0, read \d+, write 0, timeout 0", errors.group()):
        raise RuntimeError(f"{place.name}: {errors.group()}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found or float(found.group(1)) == 0:
        raise RuntimeError(f"wrk says: {done.stdout}")
    return float(found.group(1))


def beside_bulk(place: Place, way: str, effort: Effort) -> float:
    """The ping's p99 in ms while 8 streams take all they can."""
    around = effort.seconds + effort.warm + 1.0
    argv = [tool("ends"), "--warm", "0.1", "bulk", *place.bulk, way, "8", around]
    load = subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL)
    try:
        settle(0.4)
        return pings(place, effort)["p99_us"] / 1000
    finally:
        load.wait(60)


def stalled_reader(results: Results, place: Place, way: str, effort: Effort) -> None:
    """Of 8 streams one is not read: what the other seven carry."""
    said = bulk(place, way, 8, effort, "--stalled", 1)
    seven = {"bytes": said["bytes"][:7], "seconds": said["seconds"]}
    results.of(f"beside a stalled reader, {way}", "Gbit/s", 2).add(SUBJECT, gigabits(seven))
    settle()


def many_streams(results: Results, place: Place, effort: Effort) -> None:
    for way in WAYS:
        for streams in MANY:
            said = bulk(place, way, streams, effort)
            many = f"{way}, {streams} streams"
            results.of(f"bulk {many}", "Gbit/s", 2).add(SUBJECT, gigabits(said))
            results.of(f"fairness {many}", "", 4).add(SUBJECT, jain(said["bytes"]))
            if streams == MANY[0]:
                stalled_reader(results, place, way, effort)


def one_round(results: Results, places: list[Place], effort: Effort, number: int) -> None:
    whole = max(1, int(effort.seconds))
    for way in WAYS:
        for place in places:
            value = gigabits(bulk(place, way, 1, effort))
            results.of(f"bulk {way}, 1 stream", "Gbit/s", 2).add(place.name, value)
    for place in places:
        if place.name == SUBJECT:
            many_streams(results, place, effort)
    crowd = [place for place in places if place.carries_many]
    asked = [place for place in crowd if place.name != "direct" or not effort.is_quick]
    for place in asked:
        value = requests(place, whole, "-H", "Connection: close")
        results.of("new connections", "1/s").add(place.name, value)
    for place in asked:
        results.of("keep-alive requests", "1/s").add(place.name, requests(place, whole))
    for place in places:
        said = pings(place, effort)
        results.of("ping-pong p50", "µs", 1).add(place.name, said["p50_us"])
        results.of("ping-pong p99", "µs", 1).add(place.name, said["p99_us"])
    for place in crowd:
        if place.name == SUBJECT or not effort.is_quick:
            value = beside_bulk(place, WAYS[number % 2], effort)
            results.of("ping-pong beside bulk p99", "ms", 2).add(place.name, value)


def place_of(folder: Path, *words: str) -> Path:
    made = folder / "-".join(words).replace(" ", "-")
    made.mkdir()
    return made


def measure_stalled_memory(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """What 8 streams of which one is not read make of two new processes, beside 8 that are read."""
    for name, options in {"8 readers": (), "one stalled": ("--stalled", 1)}.items():
        for way in WAYS:
            routes = [Route(ports.take(), ports.take())]
            forwarder = FORWARDERS[SUBJECT](place_of(folder, name, way), ports, routes)
            with forwarder, Watch(*forwarder.processes) as memory:
                entry = at(forwarder.entry(routes[0]))
                place = Place(forwarder, (entry, at(routes[0].target)), ("", ""), 0)
                bulk(place, way, 8, effort, *options)
            grown = (memory.most - memory.before) / 1024
            results.of("memory, 8 streams", "MiB", 1).add(name, grown)


def measure(results: Results, names: list[str], effort: Effort, folder: Path, ports: Ports) -> None:
    with Nginx(folder, ports) as nginx:
        places = []
        bulk_target, ping_target = ports.take(), ports.take()
        try:
            for name in names:
                targets = (bulk_target, ping_target, nginx.port)
                routes = [Route(ports.take(), target) for target in targets]
                forwarder = KINDS[name](folder, ports, routes)
                forwarder.__enter__()
                entries = [forwarder.entry(route) for route in routes]
                place = Place(
                    forwarder,
                    (at(entries[0]), at(bulk_target)),
                    (at(entries[1]), at(ping_target)),
                    entries[2],
                )
                if name == COPY_LOOP:
                    place.pings = place.bulk
                places.append(place)
            for place in places:  # paths and caches warm
                bulk(place, "up", 1, effort)
                if place.carries_many:
                    requests(place, 1)
            for number in range(effort.rounds):
                one_round(results, turned(places, number), effort, number)
        finally:
            for place in places:
                place.forwarder.stop()
    if SUBJECT in names:
        measure_stalled_memory(results, effort, folder, ports)
