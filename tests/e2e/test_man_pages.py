#!/usr/bin/env python3
"""The man pages: one for each subcommand, every option and key in them, and nothing to warn of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from harness.process import program, run
from harness.suite import Suite, check, check_equal
from harness.utun import binary

PAGES = binary().parent / "packaging" / "man"


def helped(*command: str) -> str:
    return run([binary(), *command, "--help"], seconds=20).stdout


def commands() -> list[tuple[str, ...]]:
    """Every subcommand and action, as the help lists them."""
    found: list[tuple[str, ...]] = [()]
    for name in re.findall(r"^  ([a-z]+) {2,}\S", helped().split("Commands:")[1].split("\n\n")[0], re.M):
        found.append((name,))
        _, actions, rest = helped(name).partition("Actions:")
        if actions:
            found += [(name, action) for action in re.findall(r"^  ([a-z]+) {2,}\S", rest.split("\n\n")[0], re.M)]
    return found


def page_of(command: tuple[str, ...]) -> Path:
    return PAGES / ("-".join(["utun", *command]) + ".1")


def rendered(page: Path) -> str:
    """As text on lines so long that nothing is broken."""
    text = run([program("mandoc"), "-Tutf8", "-Owidth=1000", page]).stdout
    return re.sub(r".\x08", "", text).replace("‐", "-").replace("−", "-")


def there_is_one_for_each_command() -> str:
    wanted = {page_of(command).name for command in commands()} | {"utun.toml.5"}
    check_equal({page.name for page in PAGES.glob("*.[15]")}, wanted, "the pages")
    return f"{len(wanted)} pages"


def every_option_is_in_them() -> str:
    count = 0
    for command in commands():
        text = rendered(page_of(command))
        check(f"utun {' '.join(command)}".strip() in text, f"{page_of(command).name}: its command is not in it")
        for name, value, words in re.findall(r"^ {2,6}(?:-\w, )?--([\w-]+)(?: ([^ ]+))?\s+(\S.*)$", helped(*command), re.M):
            line = rf"--{name}{' ' + re.escape(value) if value else ''}\s+{re.escape(words)}"
            check(re.search(line, text), f"{page_of(command).name}: --{name} is missing, or says something else")
            count += 1
    return f"{count} options"


def every_key_is_in_the_configuration_s() -> str:
    text = rendered(PAGES / "utun.toml.5")
    keys = run([binary(), "check", "--keys"]).stdout
    sections = re.findall(r"^### `(.+)`$", keys, re.M)
    for section in sections:
        check(re.search(rf"^{re.escape(section)}$", text, re.M), f"{section} is missing")
    names = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", keys, re.M)
    check(len(names) > 60, "too few keys")
    for name, accepts, default in names:
        shown = f"R{default[1:]}." if default.startswith("required") else f"Default: {default}."
        shown = shown.replace("`", "")
        line = rf"^ +{name}\s+.*\n* +Accepts: {re.escape(accepts)}\. {re.escape(shown)}"
        check(re.search(line, text.replace("`", ""), re.M), f"{name} is missing, or says something else")
    return f"{len(names)} keys in {len(sections)} sections"


def nothing_to_warn_of() -> None:
    for page in sorted(PAGES.glob("*.[15]")):
        for argv in (
            ["mandoc", "-Tlint", "-Wstyle", page],
            ["groff", "-ww", "-man", "-Kutf8", "-Tutf8", "-z", page],
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
        ):
            env = {**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
            done = subprocess.run(
                [program(argv[0]), *map(str, argv[1:])], capture_output=True, text=True, env=env, timeout=60
            )
            said = done.stderr + (done.stdout if argv[0] == "mandoc" else "")
            check_equal((done.returncode, said), (0, ""), f"{argv[0]} on {page.name}")


def main() -> int:
    with Suite("man_pages") as suite:
        suite.run("one for each subcommand", there_is_one_for_each_command)
        suite.run("every option is in them, as in the help", every_option_is_in_them)
        suite.run("every key is in utun.toml(5)", every_key_is_in_the_configuration_s)
        suite.run("nothing to warn of", nothing_to_warn_of)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
