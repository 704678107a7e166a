#!/usr/bin/env python3
"""How faithfully does a TCP forwarder forward TCP?

This program is both ends of every connection: the client, which connects to the forwarder's
listener (--connect), and the service, which listens where the forwarder's target is (--listen).
With the same address for both there is no forwarder in between: that is the reference, and every
case passes.

    tcp_matrix.py --connect 127.0.0.1:7001 --listen 127.0.0.1:7002
    tcp_matrix.py --connect 127.0.0.1:7001 --listen 127.0.0.1:7002 --only reset --json
    tcp_matrix.py --forwarders              # start them all here and print the comparison

A case states what TCP itself gives the two programs: which bytes arrive, and whether the
connection then ends with a FIN (end of file) or a RST (ECONNRESET). A case with two roles runs
twice, once with the client and once with the service as the side that acts.

Exit status: 0 if every case passed, 1 if one did not, 2 for wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tcp_cases import CASES, NotAsked, Stage
from tcp_ends import Differs, name_of


@dataclass
class Result:
    case: str
    text: str
    verdict: str  # "pass", "FAIL" or, for a case that does not apply, "n/a"
    seen: str
    seconds: float


def run(stage: Stage, only: str | None, on_result: Callable[[Result], None]) -> list[Result]:
    results = []
    stage.listen()
    for entry in CASES:
        if only and only not in entry.name:
            continue
        stage.clear()
        stage.note = ""
        started = time.monotonic()
        try:
            entry.run(stage)
            verdict, seen = "pass", stage.note
        except NotAsked as e:
            verdict, seen = "n/a", str(e)
        except Differs as e:
            verdict, seen = "FAIL", str(e)
        except OSError as e:
            verdict, seen = "FAIL", name_of(e)
        text = entry.text.format(idle=stage.idle)
        result = Result(entry.name, text, verdict, seen, time.monotonic() - started)
        on_result(result)
        results.append(result)
    stage.clear()
    stage.deafen()
    return results


def print_result(result: Result) -> None:
    seen = f": {result.seen}" if result.seen else ""
    text = f"{result.verdict:<4} {result.case:<27} {result.seconds:5.1f} s  {result.text}{seen}"
    print(text, flush=True)


def compare_forwarders(
    names: list[str] | None, only: str | None, idle: float, as_json: bool
) -> int:
    """Runs the cases through every forwarder and prints them side by side, as Markdown."""
    from harness.forwarders import FORWARDERS, Route
    from harness.ports import Ports
    from harness.suite import temporary_folder

    columns: dict[str, list[Result]] = {}
    for name in names or list(FORWARDERS):
        with temporary_folder() as folder, Ports() as ports:
            route = Route(listen=ports.take(), target=ports.take())
            print(f"-- {name}", file=sys.stderr)
            with FORWARDERS[name](folder, ports, [route]) as forwarder:
                stage = Stage(
                    ("127.0.0.1", forwarder.entry(route)), ("127.0.0.1", route.target), idle
                )
                if (unknown := forwarder.unknown_entry()) is not None:
                    stage.unknown = ("127.0.0.1", unknown)
                columns[name] = run(stage, only, print_to_stderr)
    if as_json:
        print(json.dumps({n: [vars(r) for r in rs] for n, rs in columns.items()}, indent=1))
    else:
        print(markdown(columns))
    return 0


def print_to_stderr(result: Result) -> None:
    seen = f": {result.seen}" if result.seen else ""
    print(f"   {result.verdict:<4} {result.case}{seen}", file=sys.stderr, flush=True)


def markdown(columns: dict[str, list[Result]]) -> str:
    lines = ["| what the two programs do | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row in zip(*columns.values()):
        cells = [{"pass": "yes", "n/a": "-"}.get(r.verdict, r.seen) for r in row]
        lines.append(f"| {row[0].text} | " + " | ".join(cells) + " |")
    totals = []
    for results in columns.values():
        asked = [r for r in results if r.verdict != "n/a"]
        totals.append(f"{sum(r.verdict == 'pass' for r in asked)} of {len(asked)}")
    lines.append("| **as TCP itself** | " + " | ".join(totals) + " |")
    return "\n".join(lines)


def address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def main() -> int:
    parser = argparse.ArgumentParser(description="TCP transparency of a forwarder.")
    parser.add_argument("--connect", type=address, help="the forwarder's listener")
    parser.add_argument("--listen", type=address, help="where the forwarder's target is")
    parser.add_argument("--unknown", type=address, help="a listener without a service behind it")
    parser.add_argument("--only", help="only cases with this in their name")
    parser.add_argument("--idle", type=float, default=12.0, help="seconds of half-closed idleness")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--forwarders", nargs="*", metavar="NAME", help="start these (default all) and compare"
    )
    options = parser.parse_args()
    if options.forwarders is not None:
        return compare_forwarders(options.forwarders, options.only, options.idle, options.json)
    if not options.connect or not options.listen:
        parser.error("--connect and --listen (or --forwarders) are needed")
    stage = Stage(options.connect, options.listen, options.idle)
    stage.unknown = options.unknown
    results = run(stage, options.only, (lambda r: None) if options.json else print_result)
    passed = sum(r.verdict == "pass" for r in results)
    failed = sum(r.verdict == "FAIL" for r in results)
    if options.json:
        print(json.dumps([vars(r) for r in results], indent=1))
    else:
        print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
