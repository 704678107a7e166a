"""The tables of a run, as Markdown: for the terminal, and for README.md and docs/PERFORMANCE.md."""

from __future__ import annotations

import textwrap

import forwarding
import path
import udp
from results import SUBJECT, Results, compared, table
from targets import judge, judged_table

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
    "idle streams",
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
        ("Where the time goes", time_table(results)),
        ("Each layer alone", layers_table(results)),
    ]


def results_have(results: Results, name: str) -> bool:
    return any(name in series.rounds for series in results.series.values())


def layers_table(results: Results) -> str:
    rows = [["layer alone, CPU of one thread", "", ""]]
    for one in results.layers:
        value = f"{one['value']:,.{0 if one['value'] >= 100 else 2}f}"
        rows.append([f"{one['layer']}: {one['what']}", value, str(one["unit"])])
    return table(rows) if len(rows) > 1 else ""


def time_table(results: Results) -> str:
    """Where a source's and a dest's time goes in bulk."""
    profile = results.facts.get("profile")
    if not profile:
        return ""
    names = list(dict.fromkeys(name for shares in profile.values() for name in shares))
    rows = [["one stream, client to server (% of CPU)", *profile]]
    for name in names:
        rows.append([name, *(f"{shares.get(name, 0):.0f}" for shares in profile.values())])
    return table(rows)


def facts_line(results: Results) -> str:
    facts = results.facts
    return (
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"TCP {facts['congestion_control']}; medians of {facts['rounds']} rounds"
        + (" (quick)" if facts["quick"] else "")
        + (f"; load before: {facts['load_before']:.1f}" if facts["load_before"] > 0.5 else "")
    )


# ------------------------------------------------------------------------------------------------
# Blocks of README.md and docs/PERFORMANCE.md


def sentences(results: Results) -> str:
    """What the README says in words."""

    def number(what: str, name: str = SUBJECT) -> str | None:
        series = results.series.get(what)
        return series.text(series.median(name)) if series and series.has(name) else None

    said = []
    one, other = number("path down"), number("path down", path.PLAIN)
    if one and other:
        said.append(
            f"Over a path of 100 ms and 1 Gbit/s a stream gets {one}, a plain TCP connection {other}."
        )
    ready, cold = number("new session, key pair ready"), number("new session, cold")
    if ready and cold:
        said.append(
            f"A new session in mode `hybrid` carries its first answer {ready} after the connection "
            f"when a key pair is ready, {cold} when it is not."
        )
    recovery = results.series.get("recovery")
    if recovery:
        values = recovery.rounds[SUBJECT]
        worst = recovery.text(max(values))
        said.append(
            f"After a session was cut, a client has its next answer within "
            f"{recovery.text(recovery.median(SUBJECT))} (median of {len(values)} cuts; {worst} at "
            "worst)."
        )
    source, dest = (number("RSS per idle stream", role) for role in ("source", "dest"))
    if source and dest:
        said.append(f"An idle stream costs a source {source} and a dest {dest}.")
    return textwrap.fill(" ".join(said), 110, break_long_words=False, break_on_hyphens=False)


def summary(results: Results) -> str:
    """The README's part."""
    names = [name for name in forwarding.COMPARED if results_have(results, name)]
    parts = [
        textwrap.fill(
            f"`make bench` on {facts_line(results)}; everything on one host over loopback. HAProxy "
            "forwards without encryption; the copy loop encrypts and does nothing else.",
            110,
        ),
        "![utun beside ssh, stunnel, HAProxy, a bare copy loop and ss-tunnel](docs/bench.svg)",
        compared(results, names, list(FORWARDED)),
        compared(results, list(udp.COMPARED), list(udp.CLIENTS)),
        sentences(results),
    ]
    return "\n\n".join(part for part in parts if part)


def blocks(results: Results) -> dict[str, str]:
    """By the name in `<!-- bench NAME: begin -->`."""
    by_heading = dict(tables(results))
    return {
        "summary": summary(results),
        "facts": facts_line(results) + ".",
        "targets": judged_table(judge(results)),
        "forwarders": by_heading["TCP through forwarders"],
        "udp": by_heading["UDP, requests of 512 bytes"],
        "path": by_heading["A path of 100 ms and 1 Gbit/s"],
        "utun": by_heading["utun"],
        "scale": by_heading["Many streams, idle streams, two workers"],
        "time": by_heading["Where the time goes"],
        "layers": by_heading["Each layer alone"],
    }
