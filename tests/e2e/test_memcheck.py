#!/usr/bin/env python3
"""The program below Valgrind's memcheck: that it finds what is planted, then a short way through both
ends. `make memcheck` plays nearly all the other scripts below it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys

os.environ["UTUN_TEST_MEMCHECK"] = "1"

from harness import memcheck  # noqa: E402
from harness.datagrams import UdpEcho  # noqa: E402
from harness.echo import Echo  # noqa: E402
from harness.process import Process, run, wait_until  # noqa: E402
from harness.suite import Suite, check, check_equal  # noqa: E402
from test_threads import everything_at_once  # noqa: E402

FAULTY = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *volatile block;

static void read_what_nobody_wrote(void)
{
    block = malloc(8);
    if (*block == 'x')
        puts("x");
    free(block);
}

int main(int argc, char **argv)
{
    (void)argc;
    switch (argv[1][0]) {
    case 'u':
        read_what_nobody_wrote();
        break;
    case 'b':
        block = malloc(8);
        block[8] = 'x';
        free(block);
        break;
    case 'l':
        block = malloc(8);
        block = NULL;
        break;
    case 'c':
        if (fork() == 0) {
            read_what_nobody_wrote();
            _exit(0);
        }
        wait(NULL);
        break;
    case 'k':
        read_what_nobody_wrote();
        puts("done");
        fflush(stdout);
        pause();
        break;
    default:
        break;
    }
    return 0;
}
"""

# Name of the fault -> the exit status that it makes, and what memcheck says of it.
PLANTED = {
    "uninitialised": (99, "uninitialised value"),
    "behind": (99, "Invalid write of size 1"),
    "leak": (99, "definitely lost"),
    "child": (0, "uninitialised value"),
}


class Faulty:
    def __init__(self, suite: Suite) -> None:
        self.folder = suite.folder
        self.program = suite.folder / "faulty"
        source = suite.folder / "faulty.c"
        source.write_text(FAULTY)
        run(["cc", "-g", "-o", self.program, source])
        memcheck.WATCHED.add(self.program.name)

    def start(self, fault: str) -> Process:
        return Process(f"faulty-{fault}", [self.program, fault], self.folder)


def planted(faulty: Faulty) -> str:
    check_equal(faulty.start("nothing").wait(), 0, "the exit status without a fault")
    check_equal(memcheck.findings(), [], "what was found without a fault")
    for fault, (status, words) in PLANTED.items():
        check_equal(faulty.start(fault).wait(), status, f"the exit status with the fault {fault}")
        said = [text for _, text in memcheck.findings()]
        check(len(said) == 1 and words in said[0], f"no {words!r} in {said}")
    return ", ".join(PLANTED)


def planted_and_killed(faulty: Faulty) -> None:
    process = faulty.start("killed")
    wait_until(lambda: "done" in process.text(), 10, "the fault")
    process.stop(signal.SIGKILL)
    check_equal(len(memcheck.findings()), 1, "processes with an error")


def fails_the_suite(faulty: Faulty) -> None:
    """A finding makes a suite fail in which every case has passed."""
    said = io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(said), Suite("inner") as inner:
        inner.run("a case", lambda: faulty.start("child").wait())
    signal.signal(signal.SIGTERM, handler)
    check_equal((inner.passed, inner.status()), (1, 1), "cases that passed, and the status")
    check("FAIL memcheck" in said.getvalue(), said.getvalue())


def everything(suite: Suite) -> str:
    """With the process that signs, TCP and UDP, cuts, refreshes, key rotations, reloads."""
    with Echo(suite.folder, suite.ports) as echo, UdpEcho(suite.folder, suite.ports) as udp:
        return everything_at_once(suite, 1, echo, udp)


def main() -> int:
    with Suite("memcheck") as suite:
        faulty = Faulty(suite)
        suite.run("planted faults", planted, faulty)
        suite.run("a planted fault, and then killed", planted_and_killed, faulty)
        suite.run("a finding makes the suite fail", fails_the_suite, faulty)
        suite.run("both ends", everything, suite)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
