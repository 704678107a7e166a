"""Where the time of a source and a dest goes while one stream takes all it can, as perf sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import defaultdict
from pathlib import Path

from harness.ports import Ports
from harness.process import Process, run
from harness.utun import Authority, Pair, Service
from results import Results, say
from stand import Effort, at, tool

FREQUENCY = 997  # samples a second of each thread, on no beat with anything
USER, KERNEL = "[.]", "[k]"

# The first that fits. Interrupts are off where the kernel wakes somebody or serves its own
# softirqs, so that the sample falls on whatever turns them on again.
CLASSES = [
    ("AES-256-GCM", USER, r"aes|gcm|ghash"),
    ("copies, kernel", KERNEL, r"copy_(to|from)|copy_user|_copy|rep_movs|memcpy"),
    (
        "waking and waiting, kernel",
        KERNEL,
        r"sched|wake|ttwu|task|epoll|^ep_|_poll|idle|futex|_raw_spin_unlock_irqrestore",
    ),
    ("TCP, IP and memory, kernel", KERNEL, r""),
    ("copies, C library", USER, r"^_*mem(cpy|move|set)"),
    ("OpenSSL around the cipher", USER, r"EVP|ossl|OSSL|CRYPTO"),
    ("utun and libuv", USER, r""),
]


def class_of(kind: str, symbol: str) -> str:
    return next(name for name, where, has in CLASSES if where == kind and re.search(has, symbol))


def shares(report: str, threads: set[int]) -> dict[str, float]:
    """Percent of these threads' samples by class, from lines "12.34%  TID:comm  [k] symbol"."""
    found: dict[str, float] = defaultdict(float)
    line_of = re.compile(r"\s*([\d.]+)%\s+(\d+):\S.*?(\[[.k]\])\s+(\S+)")
    for line in report.splitlines():
        match = line_of.match(line)
        if match and int(match.group(2)) in threads:
            found[class_of(match.group(3), match.group(4))] += float(match.group(1))
    whole = sum(found.values())
    if whole == 0:
        raise RuntimeError("perf has no samples of utun")
    return {name: round(found[name] / whole * 100, 1) for name, _, _ in CLASSES if found[name]}


def workers_of(process: Process) -> set[int]:
    """The threads that move bytes; another makes key pairs meanwhile."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return {int(task.name) for task in tasks if "worker" in (task / "comm").read_text()}


def measure(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    if shutil.which("perf") is None:
        results.missing["profile"] = "perf is not installed (linux-perf)"
        return
    target = ports.take()
    service = Service(ports.take(), target)
    with Pair(folder, ports, [service], Authority(folder, "profile-ca"), name="profile") as pair:
        words = ("bulk", at(service.port), at(target), "up", 1, effort.seconds + 1.5)
        argv = [str(word) for word in (tool("ends"), *words)]
        load = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        data = folder / "perf.data"
        threads = {"source": workers_of(pair.source), "dest": workers_of(pair.dest)}
        names = f"{pair.source.pid},{pair.dest.pid}"
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-p", names]
        run([*record, "-o", data, "--", "sleep", str(effort.seconds)], seconds=60)
        load.wait(60)
        said = run(
            ["perf", "report", "-i", data, "--stdio", "-s", "pid,sym", "--no-children"], seconds=60
        )
    profile = {role: shares(said.stdout, tids) for role, tids in threads.items()}
    results.facts["profile"] = profile
    for role, by_class in profile.items():
        say(f"{role}: " + ", ".join(f"{name} {part:.0f} %" for name, part in by_class.items()))
