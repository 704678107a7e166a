"""utun below Valgrind's memcheck, with UTUN_TEST_MEMCHECK=1: each of its processes, the signer's too.

What memcheck says ends up in a file for each process. An error or a block that is definitely lost
makes the program's exit status 99 and, whatever became of the process, the suite fail.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

ON = os.environ.get("UTUN_TEST_MEMCHECK") == "1"
STATUS = 99
SUPPRESSIONS = Path(__file__).with_name("memcheck.supp")
WATCHED = {"utun"}  # names of programs

# A process that was killed has no summary; what it was told before is there.
BAD = re.compile(
    r"^==\d+== (ERROR SUMMARY: [1-9]|Process terminating .*SIG(SEGV|BUS|ILL|FPE|ABRT)|Invalid |"
    r"Mismatched free|Conditional jump|Use of uninit|Syscall param|Source and dest|Argument )|^valgrind: ",
    re.M,
)

folder: Path | None = None


def logs() -> Path:
    """Others may write there: not every process runs as the account of the test."""
    global folder
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="utun-memcheck-"))
        os.chmod(folder, 0o1777)
    return folder


def command(argv: list[str]) -> list[str]:
    """The command that runs this one, below memcheck if it is to be watched."""
    if not ON or Path(argv[0]).name not in WATCHED:
        return argv
    options = [
        # One thread runs at a time: else who makes key pairs leaves the others too little for deadlines.
        "--fair-sched=try",
        "--vgdb=no",  # nor pipes of its own where temporary files are counted
        # What is only possibly lost has pointers into its middle: elements of lists, arenas.
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
        "--num-callers=30",
        f"--error-exitcode={STATUS}",
        f"--suppressions={SUPPRESSIONS}",
        f"--log-file={logs()}/%p",
    ]
    return ["valgrind", *options, *argv]


def findings() -> list[tuple[str, str]]:
    """(command, what memcheck said) of each process with an error since the last call. None may run any more."""
    global folder
    if folder is None:
        return []
    found = []
    for log in sorted(folder.iterdir()):
        said = log.read_text(errors="replace")
        if BAD.search(said):
            name = re.search(r"Command: (.*)", said)
            found.append((name.group(1) if name else f"pid {log.name}", said.strip()))
    shutil.rmtree(folder)
    folder = None
    return found
