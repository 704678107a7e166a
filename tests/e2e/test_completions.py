#!/usr/bin/env python3
"""The completions, asked in the shells themselves: what bash, zsh and fish offer for words so far."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import sys
import time
from pathlib import Path

from harness.process import PATIENCE, program, run
from harness.suite import Suite, check, check_equal
from harness.utun import binary

FILES = binary().parent / "packaging" / "completions"

COMMANDS = set(
    re.findall(r"^  ([a-z]+) {2,}\S", run([binary(), "--help"]).stdout.split("Options")[0], re.M)
)
LEVELS = {"debug", "info", "warn", "error"}


def options_of(*command: str) -> set[str]:
    shown = run([binary(), *command, "--help"]).stdout
    return set(re.findall(r"^ {2,6}(?:-\w, )?(--[\w-]+)", shown, re.M))


GLOBALS = {"--config", "--log-level", "--log-format"}


def cases(folder: Path) -> list[tuple[str, set[str]]]:
    """A line that is being typed, and what must be offered for its last word."""
    (folder / "some.toml").write_text("")
    (folder / "some folder").mkdir(exist_ok=True)
    algorithms = {"ML-DSA-65", "ML-DSA-44", "ML-DSA-87"}
    found = [
        ("utun ", COMMANDS),
        ("utun che", {"check"}),
        ("utun cert ", {"ca", "server", "client", "crl", "show", "verify"}),
        ("utun cert ver", {"verify"}),
        ("utun cert ca --algorithm ML", algorithms),
        ("utun --log-level ", LEVELS),
        ("utun source --log-level w", {"warn"}),
        ("utun source --log-format ", {"json", "plain"}),
        ("utun check --role ", {"source", "dest"}),
        ("utun cert verify --purpose s", {"server"}),
        ("utun --config /nowhere hea", {"health"}),
        ("utun --log-level info source --dest-h", {"--dest-host"}),
        ("utun source --listen-port 1 --metr", {"--metrics-port"}),
        (f"utun check --config {folder}/some.t", {f"{folder}/some.toml"}),
        (f"utun cert show {folder}/some.t", {f"{folder}/some.toml"}),
    ]
    for command in COMMANDS - {"cert"}:
        found.append((f"utun {command} --", options_of(command) | GLOBALS))
    for action in ("ca", "server", "client", "crl", "show", "verify"):
        found.append((f"utun cert {action} --", options_of("cert", action) | GLOBALS))
    return found


def compare(line: str, offered: set[str], wanted: set[str]) -> None:
    check_equal(sorted(offered), sorted(wanted), f"offered behind {line!r}")


# -- bash: the function that `complete -F` names, as readline would call it


def in_bash(folder: Path) -> str:
    script = [f"source {FILES}/utun", "compopt() { :; }", "complete -p utun | grep -q -- '-F _utun' || exit 9"]
    asked = cases(folder)
    for line, _ in asked:
        words = line.split(" ")
        script += [
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))})",
            f"COMP_CWORD={len(words) - 1}",
            "COMPREPLY=()",
            "_utun utun",
            "printf '%s\\n' \"${COMPREPLY[@]}\" --end--",
        ]
    # What readline makes of --option=value.
    script += ["COMP_WORDS=(utun --log-level = w)", "COMP_CWORD=3", "_utun utun", "echo \"${COMPREPLY[@]}\""]
    script += ["COMP_WORDS=(utun --log-level =)", "COMP_CWORD=2", "_utun utun", "echo \"${COMPREPLY[@]}\""]
    # An option is offered once, unless it may be there again.
    script += ["COMP_WORDS=(utun init --days 3 --da)", "COMP_CWORD=4", "_utun utun", "echo \"<${COMPREPLY[*]}>\""]
    script += ["COMP_WORDS=(utun init --service a --serv)", "COMP_CWORD=4", "_utun utun", "echo \"<${COMPREPLY[*]}>\""]
    said = run(["bash", "--norc", "-uc", "\n".join(script)]).stdout
    answers = said.split("--end--\n")
    for (line, wanted), answer in zip(asked, answers, strict=False):
        compare(line, set(filter(None, answer.splitlines())), wanted)
    last = answers[-1].splitlines()
    check_equal(last[0], "warn", "behind --log-level=w")
    check_equal(set(last[1].split()), LEVELS, "behind --log-level=")
    check_equal(last[2:], ["<>", "<--service>"], "options that are there already")
    return f"{len(asked) + 4} lines"


# -- fish: it can be asked


def in_fish(folder: Path) -> str:
    asked = cases(folder)
    script = [f"source {FILES}/utun.fish"]
    for line, _ in asked:
        script += [f"complete -C {shlex.quote(line)}", "echo -- --end--"]
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    said = run(["fish", "--no-config", "-c", "\n".join(script)], env=env).stdout
    for (line, wanted), answer in zip(asked, said.split("--end--\n"), strict=False):
        offered = {row.split("\t")[0] for row in answer.splitlines() if row}
        if line.endswith(" --"):
            offered = {row for row in offered if row.startswith("--")}
        compare(line, offered, wanted)
    return f"{len(asked)} lines"


# -- zsh: an interactive one, with a Tab; compadd says what it is given

ZSH = r"""
PROMPT= RPROMPT= ; unsetopt zle_bracketed_paste beep prompt_cr 2>/dev/null
fpath=(@FILES@ $fpath)
autoload -U compinit && compinit -D -u
zstyle ':completion:*' list-grouped false
zstyle ':completion:*' insert-tab false
zstyle ':completion:*' accept-exact-dirs true
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
    typeset -a hits; builtin compadd -A hits "$@"
    local i; for ((i = 1; i <= $#argv; i++)) { [[ $argv[i] == -p ]] && local before=$argv[i+1]; }
    (( $#hits )) && print -rl -- "HIT "${^hits}
    builtin compadd "$@"
}
ask() { zle complete-word; print -r -- "ASKED-END"; BUFFER=''; }
zle -N ask; bindkey '^I' ask
print READY-"NOW"
"""


class Zsh:
    def __init__(self, folder: Path) -> None:
        script = folder / "setup.zsh"
        script.write_text(ZSH.replace("@FILES@", str(FILES)))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(HOME=str(folder), TERM="dumb", ZDOTDIR=str(folder), COLUMNS="500")
            os.execv(program("zsh"), ["zsh", "-f", "-i"])
        self.send(f"stty -echo; source {script}\n")
        self.until("READY-NOW")

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, mark: str) -> str:
        text, deadline = "", time.monotonic() + 30 * PATIENCE
        while mark not in text:
            check(time.monotonic() < deadline, f"zsh did not answer: {text[-500:]!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                text += os.read(self.fd, 65536).decode(errors="replace")
        return text

    def ask(self, line: str) -> set[str]:
        self.send(f"{line}\t")
        hits = re.findall(r"HIT (.*?)\r?\n", self.until("ASKED-END"))
        self.send("\x15\n")  # whatever is left on the line goes
        return {hit.strip() for hit in hits}

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def in_zsh(folder: Path) -> str:
    asked = cases(folder)
    zsh = Zsh(folder)
    try:
        for line, wanted in asked:
            offered = zsh.ask(line)
            if line.endswith(" --"):
                offered = {row.rstrip("=") for row in offered if row.startswith("--")}
            if "/" in line:  # compadd is given the last part of a path
                wanted = {Path(one).name for one in wanted}
                offered = {Path(one).name for one in offered}
            compare(line, {row.rstrip("=") for row in offered}, wanted)
    finally:
        zsh.close()
    return f"{len(asked)} lines"


def main() -> int:
    with Suite("completions") as suite:
        suite.run("bash", in_bash, suite.folder)
        suite.run("fish", in_fish, suite.folder)
        suite.run("zsh", in_zsh, suite.folder)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
