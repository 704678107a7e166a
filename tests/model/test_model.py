#!/usr/bin/env python3
"""Checks the Promela models of docs/model with Spin.

usage: test_model.py [--model streams|rotation] [--searches | --planted] [--long] MODEL_FOLDER

Searches: each model, to the end, with assertions and invalid end states, and with its LTL property.
Planted: each model again with each bug that can be planted in it; Spin must find a counterexample.
With UTUN_TEST_LONG=1 or --long larger worlds are searched, too.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

DEPTH = 1000000
SECONDS = 300
LONG_SECONDS = 7200
MEMORY_MB = 1900
LONG_MEMORY_MB = 12000

# What each search is told besides the world's size.
SAFETY = (["-DSAFETY"], [])
LIVENESS = (["-DNFAIR=5"], ["-a", "-f"])  # acceptance cycles, under weak fairness


@dataclass
class Search:
    what: str
    world: str
    kind: tuple = SAFETY
    is_long: bool = False


STREAMS = [
    Search("bytes and FINs both ways", "ROOM=2"),
    Search("a window smaller than the data", "UP_UNITS=2 DOWN_UNITS=0 WINDOW=1 ROOM=2"),
    Search("the client resets", "RESETS=1 DOWN_UNITS=0"),
    Search("the target resets", "RESETS=2 UP_UNITS=0"),
    Search("three sessions", "SESSIONS=3 UP_UNITS=0 DOWN_UNITS=0"),
    Search("streams are given up", "GIVE_UP=3 DOWN_UNITS=0"),
    Search("every stream ends", "LIVE DOWN_UNITS=0", LIVENESS),
    Search("both reset", "RESETS=3", is_long=True),
    Search("resets, and frames that cross", "RESETS=1 ROOM=2", is_long=True),
    Search("three sessions, data", "SESSIONS=3 DOWN_UNITS=0", is_long=True),
    Search("given up, resets", "GIVE_UP=3 RESETS=1 DOWN_UNITS=0", is_long=True),
    Search("two streams", "STREAMS=2 UP_UNITS=0 DOWN_UNITS=0", is_long=True),
    Search("every stream ends, resets", "LIVE RESETS=1 UP_UNITS=0 DOWN_UNITS=0", LIVENESS,
           is_long=True),
]

ROTATION = [
    Search("exchange, switch, ratchet, death", "CHUNKS=2 ROOM=2"),
    Search("never stranded", "LIVE CHUNKS=1", LIVENESS),
    Search("more under way", "CHUNKS=3 ROOM=3", is_long=True),
    Search("never stranded, more under way", "LIVE CHUNKS=2 ROOM=2", LIVENESS, is_long=True),
]

# Planted bug -> the world in which it shows, and how: by an assertion, or by an LTL property.
STREAMS_BUGS = {
    "RESUME_OFFSET": Search("", ""),
    "FIN_NOT_RESENT": Search("", ""),
    "RESET_NOT_RESENT": Search("", "RESETS=1 DOWN_UNITS=0"),
    "ACCEPT_NOT_RESENT": Search("", "LIVE UP_UNITS=0 DOWN_UNITS=0", LIVENESS),
    "HAS_RESET_IGNORED": Search("", "RESETS=1 DOWN_UNITS=0"),
    "OPENED_TWICE": Search("", ""),
    "FORGOTTEN_IGNORED": Search("", ""),
    "RESET_OVERTAKES": Search("", "RESETS=1 DOWN_UNITS=0"),
    "RETIRED_ACCEPTED": Search("", ""),
    "NOT_FROZEN": Search("", ""),
    "OLDER_TAKES_OVER": Search("", "SESSIONS=3 DOWN_UNITS=0"),
    "FORGETS_SENT": Search("", ""),
    "ANSWER_NOT_SENT": Search("", "RESETS=1 DOWN_UNITS=0"),
}

ROTATION_BUGS = {
    "SOURCE_OPENS_EARLY": Search("", ""),
    "DEST_OPENS_EARLY": Search("", ""),
    "SEALS_EARLY": Search("", ""),
    "NEXT_TOO_EARLY": Search("", ""),
    "OLD_KEPT": Search("", ""),
    "ROTATION_KEPT": Search("", ""),
    "RATCHET_IS_FRESH": Search("", ""),
    "OLD_GONE_EARLY": Search("", ""),
    "OUTLIVES_SESSION": Search("", ""),
    "NO_EXPIRY": Search("", ""),
    "NO_REFRESH": Search("", ""),
}

MODELS = {
    "streams": (STREAMS, STREAMS_BUGS),
    "rotation": (ROTATION, ROTATION_BUGS),
}


class Failed(Exception):
    """A run of Spin that did not go as it must."""


@dataclass
class Result:
    errors: int
    states: int
    depth: int
    memory_mb: int
    why: str


def run(command, folder, seconds):
    try:
        done = subprocess.run(command, cwd=folder, timeout=seconds, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{command[0]}: no end within {seconds} s") from e
    return done.returncode, done.stdout


def number(pattern, text):
    found = re.search(pattern, text, re.M)
    if found is None:
        raise Failed(f"pan does not say {pattern!r}:\n{text}")
    return int(float(found.group(1)))


def search(model, options, kind, is_small, limits):
    """Makes and runs the verifier of one world in a folder of its own."""
    seconds, memory_mb, is_collapsed = limits
    compile_flags, pan_flags = kind
    # A counterexample is found soon; what is searched to its end is worth an optimizer's time.
    flags = ["-O0"] if is_small else ["-O1"]
    if is_collapsed:
        flags.append("-DCOLLAPSE")
    with tempfile.TemporaryDirectory(prefix="utun-model-") as folder:
        status, out = run(["spin", *[f"-D{o}" for o in options], "-a", str(model)], folder, 60)
        if status != 0 or not (Path(folder) / "pan.c").exists():
            raise Failed(f"spin: {out}")
        status, out = run(["gcc", "-w", *flags, *compile_flags, f"-DMEMLIM={memory_mb}",
                           "-o", "pan", "pan.c"], folder, 120)
        if status != 0:
            raise Failed(f"gcc: {out}")
        _, out = run(["./pan", f"-m{DEPTH}", "-n", *pan_flags], folder, seconds)

    errors = number(r"errors: (\d+)", out)
    if "max search depth too small" in out or "out of memory" in out:
        raise Failed(out)
    if errors == 0 and "Search not completed" in out:
        raise Failed(out)
    why = re.search(r"^pan:\d+: (.*)$", out, re.M)
    return Result(errors, number(r"^\s*(\S+) states, stored", out),
                  number(r"depth reached (\d+)", out),
                  number(r"^\s*(\S+)\s+total actual memory usage", out),
                  why.group(1) if why else "")


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def check_clean(name, model, s):
    # Compressed states take a third of the memory and half as much time again.
    limits = (LONG_SECONDS, LONG_MEMORY_MB, True) if s.is_long else (SECONDS, MEMORY_MB, False)
    before = cpu_seconds()
    r = search(model, s.world.split(), s.kind, False, limits)
    print(f"{name}: {s.what} ({s.world}): {r.states:,} states, depth {r.depth:,}, "
          f"{cpu_seconds() - before:.1f} s of CPU, {r.memory_mb} MB", flush=True)
    if r.errors != 0:
        raise Failed(f"{s.what}: {r.why}\nSee it with docs/model/README.md, \"A counterexample\".")
    if r.states < 1000:
        raise Failed(f"{s.what}: {r.states} states are too few to mean anything")


def check_bug(name, model, bug, s):
    r = search(model, [*s.world.split(), f"BUG={bug}"], s.kind, True, (SECONDS, MEMORY_MB, False))
    if r.errors == 0:
        raise Failed(f"BUG={bug} is not found")
    if not r.why.startswith(("assertion violated", "acceptance cycle")) or \
            "invalid array index" in r.why:
        raise Failed(f"BUG={bug}: {r.why}")
    print(f"{name}: planted {bug}: found after {r.states:,} states: {r.why[:60]}", flush=True)


def bugs_in(model):
    """Every bug that the model knows, so that none goes unplanted."""
    text = model.read_text()
    section = text[text.index("/* -- planted bugs"):]
    section = section[:section.index("#define SOURCE 0")]
    return set(re.findall(r"^#define ([A-Z_]+) +[1-9]", section, re.M))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=MODELS, action="append")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--searches", action="store_true")
    part.add_argument("--planted", action="store_true")
    parser.add_argument("--long", action="store_true", default="UTUN_TEST_LONG" in os.environ)
    options = parser.parse_args()

    started = time.monotonic()
    try:
        for name in options.model or MODELS:
            searches, bugs = MODELS[name]
            model = (options.folder / f"{name}.pml").resolve()
            if bugs_in(model) != set(bugs):
                raise Failed(f"{name}: planted bugs of the model and of the test differ: "
                             f"{bugs_in(model) ^ set(bugs)}")
            if not options.planted:
                for s in searches:
                    if options.long or not s.is_long:
                        check_clean(name, model, s)
            if not options.searches:
                for bug, s in bugs.items():
                    check_bug(name, model, bug, s)
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    print(f"passed: {time.monotonic() - started:.0f} s, {cpu_seconds():.0f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
