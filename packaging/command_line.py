"""The command line of utun as its own --help says it is: what man pages and completions are made of.

The options' tables are in C (src/cli); asking the program keeps them the only ones.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# "  -c, --config FILE      the configuration file", or the option alone and its text below.
OPTION = re.compile(r"^  (?:(-\w), |    )--([\w-]+)(?: ([^ ]+))?(?:\s+(\S.*))?$")
ROW = re.compile(r"^  ([\w-]+)\s{2,}(\S.*)$")
CONTINUED = re.compile(r"^\s{20,}(\S.*)$")


@dataclass
class Option:
    name: str  # without dashes
    letter: str  # "-c", or ""
    value: str  # "FILE", or ""
    text: str

    @property
    def is_repeated(self) -> bool:
        return "once for each" in self.text


@dataclass
class Command:
    """A subcommand, or utun itself with an empty name."""

    name: str  # "cert ca"
    summary: str = ""  # what its --help begins with
    text: str = ""  # its line in the list that it stands in
    operand: tuple[str, str] | None = None  # name and text of an argument that is no option
    options: list[Option] = field(default_factory=list)
    notes: str = ""  # what the help ends with
    commands: list[Command] = field(default_factory=list)

    def all(self) -> list[Command]:
        return [self] + [one for command in self.commands for one in command.all()]


def blocks(help_text: str) -> list[str]:
    return [block.strip("\n") for block in re.split(r"\n\n+", help_text)]


def parse_rows(lines: list[str]) -> list[list[str]]:
    """Rows of two columns, perhaps with the second continued below."""
    rows: list[list[str]] = []
    for line in lines:
        option, row, more = OPTION.match(line), ROW.match(line), CONTINUED.match(line)
        if option:
            rows.append([option[1] or "", option[2], option[3] or "", option[4] or ""])
        elif row and not more:
            rows.append([row[1], row[2]])
        elif more and rows:
            rows[-1][-1] = (rows[-1][-1] + " " + more[1]).strip()
        else:
            raise ValueError(f"not understood in the help: {line!r}")
    return rows


def parse(name: str, help_text: str) -> tuple[Command, list[list[str]]]:
    """The command, and name and text of what it has below it."""
    command = Command(name)
    below: list[list[str]] = []
    usage, *rest = blocks(help_text)
    if not usage.startswith(f"Usage: utun {name}".rstrip()):
        raise ValueError(f"the help of {name} begins with {usage!r}")
    notes = []
    command.summary = rest.pop(0).replace("\n", " ")
    for block in rest:
        head, *lines = block.split("\n")
        if head.startswith("Options"):
            for letter, option, value, text in parse_rows(lines):
                command.options.append(Option(option, letter, value, text))
        elif head in ("Commands:", "Actions:"):
            below = parse_rows(lines)
        elif head == "Arguments:":
            (command.operand,) = [(row[0], row[1]) for row in parse_rows(lines)]
        elif not head.startswith("Global options"):
            notes.append(block)
    command.notes = "\n\n".join(notes)
    return command, below


def read(program: Path, name: str = "") -> Command:
    asked = subprocess.run(
        [str(program), *name.split(), "--help"], capture_output=True, text=True, timeout=60
    )
    if asked.returncode != 0 or asked.stderr:
        raise RuntimeError(f"utun {name} --help: status {asked.returncode}, {asked.stderr}")
    command, below = parse(name, asked.stdout)
    for child, text in below:
        command.commands.append(read(program, f"{name} {child}".strip()))
        command.commands[-1].text = text
    return command
