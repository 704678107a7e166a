"""UDP through utun, through the pair of shadowsocks-libev, and directly."""

from __future__ import annotations

from pathlib import Path

from harness.ports import Ports
from harness.process import Process, receives, run, wait_until
from harness.utun import Authority, Pair, Service
from results import Results
from stand import Effort, tool, turned

COMPARED = ("direct", "utun", "ss-tunnel -u")
CLIENTS = {"UDP, 32 clients": 32, "UDP, 1 client": 1}


def pairs(port: int, clients: int, seconds: float) -> float:
    """Requests of 512 bytes that were answered, 1/s; each client has one on its way."""
    whole = max(1, int(seconds))
    asked = [tool("udp_pairs"), "ask", "127.0.0.1", str(port), str(clients), "512", str(whole)]
    return float(run(asked, seconds=whole + 20).stdout.split()[0])


def start_ss_tunnel(folder: Path, ports: Ports, target: int) -> tuple[int, list[Process]]:
    """A pair as its users would start it; the port where clients ask."""
    server, listen = ports.take_both(), ports.take_both()
    common = ("-s", "127.0.0.1", "-p", str(server), "-k", "bench", "-m", "aes-256-gcm", "-u")
    to = ("-l", str(listen), "-L", f"127.0.0.1:{target}")
    pair = [
        Process("ss-server", ["ss-server", *common], folder),
        Process("ss-tunnel", ["ss-tunnel", *common, *to], folder),
    ]
    for port in (server, listen):
        wait_until(lambda: receives(port), 10, "the pair of ss-tunnel")
    return listen, pair


def measure(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    echo, entry = ports.take_both(), ports.take_both()
    server = Process("udp-pairs", [tool("udp_pairs"), "serve", "127.0.0.1", str(echo)], folder)
    wait_until(lambda: receives(echo), 10, "udp_pairs to serve")
    service = Service(entry, echo, protocol="udp")
    with Pair(folder, ports, [service], Authority(folder, "udp-ca"), name="udp"):
        other, processes = start_ss_tunnel(folder, ports, echo)
        places = list(zip(COMPARED, (echo, entry, other)))
        for _, port in places:
            pairs(port, 32, 1)  # paths and caches warm
        for number in range(effort.rounds):
            for what, clients in list(CLIENTS.items())[: 1 if effort.is_quick else None]:
                for name, port in turned(places, number):
                    results.of(what, "1/s").add(name, pairs(port, clients, effort.seconds))
    for process in (server, *processes):
        process.stop()
