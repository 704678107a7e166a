"""What utun is meant to reach: one entry for each promise, and whether a run has kept it.

A target is a ratio within one run, or a bound, never a number of another machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import Results, table

BULK = ("bulk up, 1 stream", "bulk down, 1 stream")
PATH = ("path up", "path down")
STREAMS_IDLE = "RSS per idle stream"


@dataclass
class Target:
    work: str
    wanted: str
    value: Callable[[Results], float | None]
    is_met: Callable[[float], bool]
    form: str = "{:.2f} ×"
    needs: str = ""  # what of Results.missing explains that there is no value


def at_least(
    work: str, what: str, factor: float, other: str, value: Callable | None = None
) -> Target:
    return Target(
        work,
        f"≥ {factor} × {other}",
        value or (lambda results: results.ratio(what, other)),
        lambda ratio: ratio >= factor,
    )


def of_one_stream(direction: str, streams: int) -> Target:
    many, one = f"bulk {direction}, {streams} streams", f"bulk {direction}, 1 stream"
    ratio = at_least(
        f"bulk {direction}, {streams} streams",
        many,
        0.95,
        "one stream",
        lambda results: results.ratio_of(many, one),
    )
    return ratio


def at_most(work: str, what: str, most: float, unit: str, needs: str = "", name="utun") -> Target:
    return Target(
        work,
        f"≤ {most:g} {unit}",
        lambda results: results.median(what, name),
        lambda value: value <= most,
        "{:,.2f} " + unit,
        needs,
    )


def fairness(direction: str, streams: int) -> Target:
    what = f"fairness {direction}, {streams} streams"
    return Target(
        f"fairness {direction}, {streams} streams",
        "≥ 0.98 (Jain)",
        lambda results: results.median(what),
        lambda value: value >= 0.98,
        "{:.4f}",
    )


TARGETS = [
    *(at_least(what, what, 1.0, "copy loop") for what in BULK),
    *(at_least(what, what, 1.5, "ssh -L") for what in BULK),
    *(at_least(what, what, 2.4, "stunnel") for what in BULK),
    *(of_one_stream(way, streams) for streams in (8, 64) for way in ("up", "down")),
    *(fairness(way, streams) for streams in (8, 64) for way in ("up", "down")),
    at_least("new connections", "new connections", 1.0, "haproxy"),
    at_least("new connections", "new connections", 1.2, "ssh -L"),
    at_least("new connections", "new connections", 8.0, "stunnel"),
    at_least("keep-alive requests", "keep-alive requests", 1.3, "haproxy"),
    *(
        Target(
            f"ping-pong, one client, {part}",
            "≤ 1.1 × haproxy",
            lambda results, part=part: results.ratio(f"ping-pong {part}", "haproxy"),
            lambda ratio: ratio <= 1.1,
        )
        for part in ("p50", "p99")
    ),
    at_most("ping-pong beside 8 bulk streams, p99", "ping-pong beside bulk p99", 5, "ms"),
    at_least("UDP request/response, 32 clients", "UDP, 32 clients", 1.2, "ss-tunnel -u"),
    at_least("UDP request/response, 1 client", "UDP, 1 client", 1.2, "ss-tunnel -u"),
    at_most("new session, hybrid, key pair ready", "new session, key pair ready", 10, "ms"),
    at_most("new session, hybrid, cold", "new session, cold", 60, "ms"),
    *(
        at_least(
            f"100 ms RTT, 1 Gbit/s, {what.removeprefix('path ')}",
            what,
            0.9,
            "plain TCP",
        )
        for what in PATH
    ),
    at_most("idle streams: RSS each, source", STREAMS_IDLE, 1.5, "KiB", name="source"),
    at_most("idle streams: RSS each, dest", STREAMS_IDLE, 1.5, "KiB", name="dest"),
    at_most("idle streams: wake-ups of workers", "idle wake-ups", 0, "1/s", name="workers"),
    at_most("idle streams: wake-ups, other threads", "idle wake-ups", 0, "1/s", name="others"),
    *(
        Target(
            f"one stalled reader of 8 streams, {way}: the other seven",
            "≥ 0.97 × all eight",
            lambda results, way=way: results.ratio_of(
                f"beside a stalled reader, {way}", f"bulk {way}, 8 streams"
            ),
            lambda ratio: ratio >= 0.97,
        )
        for way in ("up", "down")
    ),
    at_most(
        "one stalled reader of 8 streams: memory, both ends",
        "memory, 8 streams",
        64,
        "MiB",
        name="one stalled",
    ),
    Target(
        "throughput, most active streams",
        "≥ 0.9 × one stream",
        lambda results: results.median("scale: throughput", "most / one"),
        lambda ratio: ratio >= 0.9,
    ),
    Target(
        "memory per stream, most active streams",
        "≤ 1.1 × a tenth as many",
        lambda results: results.median("scale: memory", "most / tenth"),
        lambda ratio: ratio <= 1.1,
    ),
    Target(
        "CPU per byte, 2 workers",
        "≤ 1.1 × 1 worker",
        lambda results: results.median("scale: CPU per byte", "2 workers / 1"),
        lambda ratio: ratio <= 1.1,
    ),
    at_most("from a cut to data again", "recovery", 100, "ms"),
]

for target in TARGETS:
    if target.work.startswith("100 ms"):
        target.needs = "path"
    elif target.work.startswith("idle"):
        target.needs = "idle"


def judge(results: Results) -> list[dict[str, object]]:
    judged = []
    for target in TARGETS:
        value = target.value(results)
        judged.append(
            {
                "work": target.work,
                "wanted": target.wanted,
                "got": None if value is None else target.form.format(value),
                "is_met": None if value is None else bool(target.is_met(value)),
                "why": results.missing.get(target.needs, "") if value is None else "",
            }
        )
    return judged


def judged_table(judged: list[dict[str, object]]) -> str:
    rows = [["work", "target", "utun", ""]]
    for one in judged:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[one["is_met"]]
        if one["is_met"] is not None or one["why"]:
            rows.append([one["work"], one["wanted"], one["got"] or "-", verdict])
    return table(rows)
