"""The tables of a run, as Markdown: for the terminal, and for README.md and docs/PERFORMANCE.md."""

from __future__ import annotations

import forwarding
import path
import udp
from results import SUBJECT, Results, compared, table

FORWARDED = (
    "bulk up, 1 stream",
    "bulk down, 1 stream",
    "new connections",
    "keep-alive requests",
    "ping-pong p50",
    "ping-pong p99",
    "ping-pong beside bulk p99",
)
ALONE = (
    *(f"bulk {way}, {n} streams" for way in forwarding.WAYS for n in forwarding.MANY),
    *(f"fairness {way}, {n} streams" for way in forwarding.WAYS for n in forwarding.MANY),
    *(f"beside a stalled reader, {way}" for way in forwarding.WAYS),
    "memory, 8 streams",
    "new session, key pair ready",
    "new session, cold",
    "handshake, hybrid",
    "handshake, mlkem768",
    "handshake, mceliece460896",
    "recovery",
)
PATHS = (
    "path up",
    "path down",
    "path up, rate found after",
    "path down, rate found after",
)
SCALE = (
    "throughput, active streams",
    "memory per active stream",
    "CPU per byte, 8 streams",
    "RSS per idle stream",
    "idle wake-ups",
    "idle CPU",
)


def alone(results: Results, whats: tuple[str, ...]) -> str:
    """Series that have nobody to compare with: the median, and the rounds around it."""
    rows = [["", "median", "least", "most"]]
    for what in whats:
        series = results.series.get(what)
        for name, values in (series.rounds if series else {}).items():
            label = what if name == SUBJECT else f"{what}: {name}"
            numbers = (series.median(name), min(values), max(values))
            cells = (f"{number:,.{series.digits}f}" for number in numbers)
            rows.append([f"{label} ({series.unit})" if series.unit else label, *cells])
    return table(rows) if len(rows) > 1 else ""


def tables(results: Results) -> list[tuple[str, str]]:
    names = [name for name in forwarding.COMPARED if results_have(results, name)]
    return [
        ("TCP through forwarders", compared(results, names, list(FORWARDED))),
        ("UDP, requests of 512 bytes", compared(results, list(udp.COMPARED), list(udp.CLIENTS))),
        ("A path of 100 ms and 1 Gbit/s", compared(results, [path.PLAIN, SUBJECT], list(PATHS))),
        ("utun", alone(results, ALONE)),
        ("Many streams, idle streams, two workers", alone(results, SCALE)),
    ]


def results_have(results: Results, name: str) -> bool:
    return any(name in series.rounds for series in results.series.values())


def layers_table(results: Results) -> str:
    rows = [["layer alone, CPU of one thread", "", ""]]
    for one in results.layers:
        value = f"{one['value']:,.{0 if one['value'] >= 100 else 2}f}"
        rows.append([f"{one['layer']}: {one['what']}", value, str(one["unit"])])
    return table(rows) if len(rows) > 1 else ""


def facts_line(results: Results) -> str:
    facts = results.facts
    return (
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"TCP {facts['congestion_control']}; medians of {facts['rounds']} rounds"
        + (" (quick)" if facts["quick"] else "")
        + (f"; load before: {facts['load_before']:.1f}" if facts["load_before"] > 0.5 else "")
    )
