"""New sessions: how long the handshake takes, and how long it is from the outside until bytes flow."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from harness.broken import DEST, SOURCE
from harness.echo import Conversation, Echo
from harness.ports import Ports
from harness.process import Process
from harness.utun import (
    KEM_MODES,
    Authority,
    Pair,
    Service,
    dest_config,
    ready,
    source_config,
    start,
)
from results import Results
from stand import Effort, tool

REFILL = 0.4  # seconds in which a source makes the key pairs that it keeps ready


class Gate:
    """Stands between a source and its dest: when did the last session begin, and away with it."""

    def __init__(self, folder: Path, ports: Ports, target: int, name: str) -> None:
        self.port = ports.take()
        argv = [tool("gate"), str(self.port), str(target)]
        self.process = Process(name, argv, folder)
        self.process.wait_listening(self.port)

    def accepted(self) -> list[float]:
        """Seconds of the monotonic clock, of all connections so far."""
        lines = self.process.out_path.read_text().split("\n")[:-1]
        return [int(line.split()[1]) / 1e9 for line in lines]

    def cut(self) -> None:
        self.process.send_signal(signal.SIGUSR1)


def measure_handshakes(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """From the TCP connection to the agreed keys, per kem_mode, as the source says. It has a key
    pair ready."""
    authority = Authority(folder, "handshake-ca")
    for mode in KEM_MODES:
        pair = Pair(
            folder,
            ports,
            [Service(ports.take(), ports.take())],
            authority,
            kem_mode=mode,
            name=f"hs-{mode}",
            source_changes={"source": SOURCE},
            dest_changes={"dest": DEST},
        )
        gate = Gate(folder, ports, pair.tunnel_port, f"hs-gate-{mode}")
        pair.source_table["source"]["dest_tunnel_port"] = gate.port
        with pair:
            for number in range(effort.handshakes):
                time.sleep(REFILL)
                gate.cut()
                up = pair.source.wait_event("session.up", count=number + 2)
                milliseconds = float(up["handshake_ms"])
                results.of(f"handshake, {mode}", "ms", 1).add("utun", milliseconds)
        gate.process.stop()


def measure_recovery(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """A client's next answer after a reset of the session: since the reset, and since the source's
    new connection was accepted. The source has a key pair ready."""
    with Echo(folder, ports) as echo:
        service = Service(ports.take(), echo.port)
        pair = Pair(
            folder,
            ports,
            [service],
            Authority(folder, "recovery-ca"),
            name="recovery",
            source_changes={"source": SOURCE},
            dest_changes={"dest": DEST},
        )
        gate = Gate(folder, ports, pair.tunnel_port, "recovery-gate")
        pair.source_table["source"]["dest_tunnel_port"] = gate.port
        with pair, Conversation(service.port) as talk:
            for _ in range(effort.cuts):
                time.sleep(REFILL)
                talk.say(b"before")
                began = time.monotonic()
                gate.cut()
                talk.say(b"after")
                ended = time.monotonic()
                accepted = gate.accepted()[-1]
                results.of("recovery", "ms", 1).add("utun", (ended - began) * 1000)
                new = results.of("new session, key pair ready", "ms", 1)
                new.add("utun", (ended - accepted) * 1000)
        gate.process.stop()


def first_answer(port: int, source: Process) -> float:
    """The moment when a client that came before the session has its answer."""
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            break
        except ConnectionRefusedError:
            if not source.is_running():
                raise RuntimeError(f"{source.name} ended") from None
            time.sleep(0.0002)
    with sock:
        sock.sendall(b"first")
        sock.recv(5, socket.MSG_WAITALL)
        return time.monotonic()


def measure_cold(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    """The same for a source that has just been started and has no key pair yet."""
    with Echo(folder, ports, name="cold-echo") as echo:
        authority = Authority(folder, "cold-ca")
        tunnel, service = ports.take(), Service(ports.take(), echo.port)
        config = dest_config(tunnel, [service], authority, {"dest": DEST})
        with ready(start("dest", "cold-dest", folder, config)):
            gate = Gate(folder, ports, tunnel, "cold-gate")
            for number in range(effort.handshakes):
                config = source_config(gate.port, [service], authority)
                with start("source", f"cold-{number}", folder, config) as source:
                    ended = first_answer(service.port, source)
                accepted = gate.accepted()[-1]
                results.of("new session, cold", "ms", 1).add("utun", (ended - accepted) * 1000)
            gate.process.stop()


def measure(results: Results, effort: Effort, folder: Path, ports: Ports) -> None:
    measure_handshakes(results, effort, folder, ports)
    measure_recovery(results, effort, folder, ports)
    measure_cold(results, effort, folder, ports)
