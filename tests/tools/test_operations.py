"""docs/OPERATIONS.md has a cure for every error and for every warning, and for nothing else."""

import os
import re
import unittest
from pathlib import Path

ROOT = Path(os.environ["TOOLS"]).parent

ERROR = re.compile(r'X\(ERR_\w+,\s*"(\w+)",\s*"([^"]+)",\s*\w+\)')
EVENT = re.compile(r"^\| `([a-z_.]+)` \| ([a-z, ]+?)(?: ↻)? \|", re.MULTILINE)


def part(text: str, name: str) -> str:
    return text.split(f"<!-- {name}: begin -->\n")[1].split(f"<!-- {name}: end -->")[0]


def rows(table: str) -> list[list[str]]:
    """Cells of each row, without the head."""
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def error_faults(operations: str, errors: str) -> list[str]:
    said = {cells[0].strip("`"): cells[1] for cells in rows(part(operations, "errors"))}
    known = {name: text for name, text in ERROR.findall(errors) if name != "ok"}
    faults = [f"no row for the error {name}" for name in known.keys() - said.keys()]
    faults += [f"there is no error {name}" for name in said.keys() - known.keys()]
    return faults + [
        f"{name} is {known[name]!r} in the source, {said[name]!r} in the table"
        for name in known.keys() & said.keys()
        if known[name] != said[name]
    ]


def event_faults(operations: str, events: str) -> list[str]:
    said = {cells[0].strip("`") for cells in rows(part(operations, "events"))}
    levels = {name: set(level.split(", ")) for name, level in EVENT.findall(events)}
    known = {name for name, level in levels.items() if level & {"warn", "error"}}
    faults = [f"no row for the event {name}: say what to do" for name in known - said]
    return faults + [f"there is no warning or error {name}" for name in said - known]


class Operations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        docs = ROOT / "docs"
        cls.operations = (docs / "OPERATIONS.md").read_text(encoding="utf-8")
        cls.events = (docs / "EVENTS.md").read_text(encoding="utf-8")
        cls.errors = (ROOT / "src" / "base" / "error.h").read_text(encoding="utf-8")

    def test_every_error_has_a_cure(self):
        self.assertGreater(len(ERROR.findall(self.errors)), 50)
        self.assertEqual(error_faults(self.operations, self.errors), [])

    def test_every_warning_has_a_cure(self):
        self.assertGreater(len(EVENT.findall(self.events)), 30)
        self.assertEqual(event_faults(self.operations, self.events), [])

    def test_no_row_is_empty(self):
        for name, width in (("errors", 3), ("events", 2)):
            for cells in rows(part(self.operations, name)):
                self.assertEqual(len(cells), width, cells)
                self.assertTrue(all(len(cell.strip("| ")) > 2 for cell in cells), cells)

    def test_what_is_missing_strange_or_changed_is_seen(self):
        more = self.errors + 'X(ERR_NEW, "new", "something new", SYSTEM)'
        self.assertEqual(error_faults(self.operations, more), ["no row for the error new"])
        less = self.errors.replace('"rate"', '"pace"')
        self.assertEqual(len(error_faults(self.operations, less)), 2)
        other = self.errors.replace("out of memory", "no memory is left")
        self.assertIn("no memory is left", error_faults(self.operations, other)[0])
        more = self.events + "\n| `disk.full` | warn ↻ | `path` | full |\n"
        wanted = ["no row for the event disk.full: say what to do"]
        self.assertEqual(event_faults(self.operations, more), wanted)
        calm = self.events.replace("`tunnel.lost` | warn", "`tunnel.lost` | info")
        wanted = ["there is no warning or error tunnel.lost"]
        self.assertEqual(event_faults(self.operations, calm), wanted)

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", self.operations):
            self.assertTrue((ROOT / "docs" / target).exists(), target)


if __name__ == "__main__":
    unittest.main()
