"""Many streams, idle ones and busy ones, and two workers instead of one."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.ports import Ports
from harness.process import Process, wait_until
from harness.utun import Authority, Pair, Service
from results import SUBJECT, Results, say
from stand import Effort, Watch, at, ends, gigabits, settle, tool

SESSIONS = 10
SERVICES = 8  # each with a target at an address of its own: one has 28,000 ports for connections
QUIET = 3_600_000  # ms; heartbeats do not come while wake-ups are counted
STILL = 2.0  # seconds after which a heartbeat has left nothing to do
HEARTBEAT = 15.0  # seconds without a word after which a dest asks for one; it has no key for that
SPARE = 600  # descriptors that are no streams: each worker has its listeners
PIECE = 32 * 1024


@contextmanager
def descriptors(wanted: int) -> Iterator[int]:
    """How many each child of this process may have: as many as wanted, if the system lets us raise
    the hard limit, otherwise what it is."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(before[1], wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except (ValueError, PermissionError):
        limit = before[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], limit))


def sleeps(process: Process) -> dict[tuple[str, bool], int]:
    """Times that each thread has gone to sleep until now, by its number and whether it is a
    worker."""
    counts = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        status = (task / "status").read_text()
        switches = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        counts[task.name, "worker" in (task / "comm").read_text()] = switches
    return counts


def measure_idle(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """Streams that say nothing, in SESSIONS sessions: what each costs either process."""
    with descriptors(effort.idle_streams + SPARE) as limit:
        streams = min(effort.idle_streams, limit - SPARE)
        if streams < effort.idle_streams:
            say(f"{streams:,} idle streams: {limit:,} descriptors are all that a process may have")
        results.of("idle streams").add(SUBJECT, streams)
        each = (limit - SPARE) // 2  # the load has both ends of a stream
        loads = [min(each, streams - first) for first in range(0, streams, each)]
        hold_idle(results, loads, effort, folder, ports)


def hold_idle(
    results: Results, loads: list[int], effort: Effort, folder: Path, ports: Ports
) -> None:
    """One `ends` for each of the loads, with services and targets of its own."""
    streams = sum(loads)
    entry = ports.take_run(SERVICES * len(loads))
    targets = [ports.take() for _ in loads]
    services = [
        Service(entry + SERVICES * group + number, target, target=f"127.3.0.{number + 1}")
        for group, target in enumerate(targets)
        for number in range(SERVICES)
    ]
    quiet = {"heartbeat_interval_ms": QUIET, "keep_alive_interval_ms": 0}
    room = {"keep_alive_interval_ms": 0, "max_connections_per_service": 2 * streams}
    pair = Pair(
        folder,
        ports,
        services,
        Authority(folder, "idle-ca"),
        name="idle",
        source_changes={"source": quiet | {"workers": SESSIONS, "max_connections": streams + 1}},
        dest_changes={"dest": room},
    )
    with pair:
        roles = {"source": pair.source, "dest": pair.dest}
        settle(3.0)  # the source makes key pairs ahead for some time
        before = {name: process.rss_kib() for name, process in roles.items()}
        held = [
            hold(folder, entry + SERVICES * group, targets[group], load)
            for group, load in enumerate(loads)
        ]
        settle(4.0)  # files are looked at for some seconds after the start
        each = results.of("RSS per idle stream", "KiB", 2)
        for name, process in roles.items():
            each.add(name, (process.rss_kib() - before[name]) / streams)
        for _ in range(effort.idle_windows):
            pass_heartbeat(list(roles.values()))
            count_wakeups(results, list(roles.values()), effort.idle_seconds)
        for process in held:
            process.stop(seconds=30)


def hold(folder: Path, entry: int, target: int, streams: int) -> Process:
    """The load, once all its streams stand."""
    words = ("--entries", str(SERVICES), "hold", at(entry), at(target, "0.0.0.0"), str(streams))
    load = Process(f"ends-{entry}", [tool("ends"), *words], folder)

    def is_complete() -> bool:
        if not load.is_running():
            raise RuntimeError(f"ends hold: {load.tail()}")
        return "held" in load.text()

    wait_until(is_complete, 120, f"{streams} streams")
    return load


def pass_heartbeat(processes: list[Process]) -> None:
    """Until every worker has woken, as they do for the dest's next heartbeat, and then for a while
    none has. Who does not sleep is not waited for."""

    def all_of() -> dict[str, int]:
        counts = [sleeps(process).items() for process in processes]
        return {thread: n for each in counts for (thread, is_worker), n in each if is_worker}

    begin = changed = now = time.monotonic()
    first = before = all_of()
    has_come = False
    while now < begin + 2 * HEARTBEAT and not (has_come and now > changed + STILL):
        time.sleep(0.1)
        now, counts = time.monotonic(), all_of()
        has_come = has_come or all(counts[thread] > first[thread] for thread in first)
        if counts != before:
            before, changed = counts, now


def count_wakeups(results: Results, processes: list[Process], seconds: int) -> None:
    """Between two heartbeats of the dest."""

    def all_of() -> tuple[list[int], float]:
        counts = [item for process in processes for item in sleeps(process).items()]
        sums = [
            sum(n for (_, is_worker), n in counts if is_worker == wanted)
            for wanted in (True, False)
        ]
        return sums, sum(process.cpu_seconds() for process in processes)

    counts, cpu = all_of()
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    later, cpu_later = all_of()
    series = results.of("idle wake-ups", "1/s", 2)
    for name, one, other in zip(("workers", "others"), counts, later):
        series.add(name, (other - one) / took)
    results.of("idle CPU", "%", 2).add("utun", (cpu_later - cpu) / took * 100)


def measure_active(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """Streams that are all busy: what they carry together, and the memory of both processes."""
    with descriptors(2 * max(effort.active) + SPARE) as limit:
        most = min(max(effort.active), (limit - SPARE) // 2)
        counts = sorted(min(streams, most) for streams in effort.active)
        for number in range(effort.active_rounds):
            for streams in counts:
                one_active(results, streams, most, effort.seconds, folder, ports, number)
    carried = results.of("throughput, active streams").rounds
    memory = results.of("memory per active stream").rounds
    one, tenth, all_of = (f"{streams:,}" for streams in (counts[0], counts[-2], counts[-1]))
    ratio = results.of("scale: throughput", "×", 2)
    for mine, theirs in zip(carried[all_of], carried[one]):
        ratio.add("most / one", mine / theirs)
    ratio = results.of("scale: memory", "×", 2)
    for mine, theirs in zip(memory[all_of], memory[tenth]):
        ratio.add("most / tenth", mine / theirs)


def one_active(
    results: Results,
    streams: int,
    most: int,
    seconds: float,
    folder: Path,
    ports: Ports,
    number: int,
) -> None:
    """Processes of their own: memory that more streams have used is not given back at once."""
    service = Service(ports.take(), ports.take())
    name = f"active-{streams}-{number}"
    pair = Pair(
        folder,
        ports,
        [service],
        Authority(folder, f"{name}-ca", algorithm="Ed25519"),
        name=name,
        source_changes={"source": {"max_connections": 2 * most}},
        dest_changes={"dest": {"max_connections_per_service": 2 * most}},
    )
    with pair, Watch(pair.source, pair.dest) as watch:
        words = (at(service.port), at(service.target_port), PIECE, streams, seconds)
        said = ends("--warm", 0.5, "pieces", *words, seconds=120)
    what = f"{streams:,}"
    results.of("throughput, active streams", "Gbit/s", 2).add(what, gigabits(said))
    grown = (watch.most - watch.before) / streams
    results.of("memory per active stream", "KiB", 1).add(what, grown)


def measure_workers(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """CPU of both processes for each byte, 8 streams, with one worker and with two."""
    target = ports.take()
    authority = Authority(folder, "workers-ca")
    pairs = []
    for workers in (1, 2):
        service = Service(ports.take(), target)
        count = {"workers": workers}
        pair = Pair(
            folder,
            ports,
            [service],
            authority,
            name=f"workers-{workers}",
            source_changes={"source": count},
            dest_changes={"dest": count},
        )
        pair.__enter__()
        pairs.append((workers, service, pair))
    per_byte = results.of("scale: CPU per byte", "", 3)
    try:
        for _ in range(effort.rounds):
            costs = {}
            for workers, service, pair in pairs:
                processes = (pair.source, pair.dest)
                before = sum(process.cpu_seconds() for process in processes)
                words = ("bulk", at(service.port), at(target), "down", 8)
                said = ends(*words, max(1.0, effort.seconds))
                after = sum(process.cpu_seconds() for process in processes)
                costs[workers] = (after - before) / said["total"] * 1e9
                name = f"{workers} worker{'s' if workers > 1 else ''}"
                results.of("CPU per byte, 8 streams", "ns", 3).add(name, costs[workers])
            per_byte.add("2 workers / 1", costs[2] / costs[1])
    finally:
        for _, _, pair in pairs:
            pair.stop()


def measure(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    measure_workers(results, effort, folder, ports)
    measure_active(results, effort, folder, ports)
    measure_idle(results, effort, folder, ports)
