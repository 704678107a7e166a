"""What a run of the benchmark has measured, and the tables that show it."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field

SUBJECT = "utun"


@dataclass
class Series:
    """One quantity, measured once a round for each of those who are compared."""

    what: str
    unit: str
    digits: int = 0
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.rounds.setdefault(name, []).append(value)
        say(f"{self.what}, {name}: {self.text(value)}")

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    def text(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}".strip()

    def has(self, *names: str) -> bool:
        return all(self.rounds.get(name) for name in names)

    def ratio(self, other: str, name: str = SUBJECT) -> float:
        """How many times the other's value this one has: the median of the rounds' ratios."""
        return median_ratio(self.rounds[name], self.rounds[other])


def median_ratio(mine: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, theirs))


class Results:
    """All series of a run by name, the layers alone, and what could not be measured."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}
        self.layers: list[dict[str, object]] = []
        self.missing: dict[str, str] = {}
        self.facts: dict[str, object] = {}
        self.began = time.monotonic()

    def of(self, what: str, unit: str = "", digits: int = 0) -> Series:
        """The series of this name; a new one the first time, when it is told unit and digits."""
        if what not in self.series:
            self.series[what] = Series(what, unit, digits)
        return self.series[what]

    def ratio(self, what: str, other: str) -> float | None:
        series = self.series.get(what)
        return series.ratio(other) if series and series.has(SUBJECT, other) else None

    def ratio_of(self, what: str, to: str, name: str = SUBJECT) -> float | None:
        """Between two series of the same name's, round by round."""
        mine, theirs = self.series.get(what), self.series.get(to)
        if not mine or not theirs or not mine.has(name) or not theirs.has(name):
            return None
        return median_ratio(mine.rounds[name], theirs.rounds[name])

    def median(self, what: str, name: str = SUBJECT) -> float | None:
        series = self.series.get(what)
        return series.median(name) if series and series.has(name) else None

    def as_json(self) -> dict[str, object]:
        return {
            "machine": self.facts,
            "seconds": round(time.monotonic() - self.began),
            "series": [
                {"what": s.what, "unit": s.unit, "digits": s.digits, "rounds": s.rounds}
                for s in self.series.values()
            ],
            "layers": self.layers,
            "missing": self.missing,
        }

    @staticmethod
    def from_json(report: dict) -> Results:
        results = Results()
        results.facts = report["machine"]
        results.layers = report["layers"]
        results.missing = report["missing"]
        for one in report["series"]:
            results.series[one["what"]] = Series(**one)
        return results


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def table(rows: list[list[str]]) -> str:
    """Rows under a heading, as Markdown that also reads well in a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def compared(results: Results, names: list[str], whats: list[str]) -> str:
    """The medians of these series, those who are compared side by side."""
    rows = [["", *names]]
    for what in whats:
        series = results.series.get(what)
        if series is None:
            continue
        cells = [
            f"{series.median(name):,.{series.digits}f}" if series.has(name) else "-"
            for name in names
        ]
        rows.append([f"{what} ({series.unit})", *cells])
    return table(rows) if len(rows) > 1 else ""
