"""A source and a dest with a relay between them that breaks their sessions, and loads."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from content import sum_of, write_file
from harness.chaos import Chaos
from harness.echo import Echo
from harness.process import PATIENCE, Process, program
from harness.servers import Nginx
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service

# Cuts follow each other faster than an operator would want to see them.
SOURCE = {
    "circuit_breaker_max_restarts": 10_000,
    "initial_reconnect_delay_ms": 50,
    "max_reconnect_delay_ms": 300,
}
DEST = {"handshake_rate_limit": 0}

# How soon a silent session is given up in tests that have black holes.
HEARTBEAT = {"heartbeat_interval_ms": 300, "heartbeat_timeout_ms": 150, "max_missed_pongs": 2}
DETECTION = (300 + 150 * 2) / 1000  # seconds


@dataclass
class Stage:
    """What the cases of a suite share. Each worker has a tunnel with a session of its own."""

    suite: Suite
    authority: Authority
    echo: Echo
    nginx: Nginx
    workers: int = 1


class Broken:
    """A pair with the relay between its ends, and services: echo, files, and what a case adds."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        source: dict | None = None,
        dest: dict | None = None,
        crypto: dict | None = None,
        extra: int = 0,
        more: list[Service] | None = None,
    ) -> None:
        ports = stage.suite.ports
        targets = [stage.echo.port, stage.nginx.port] + ([extra] if extra else [])
        services = [Service(ports.take(), target) for target in targets]
        self.echo, self.files = services[0].port, services[1].port
        self.extra = services[-1].port
        self.workers = stage.workers
        name = f"{name}-{self.workers}"
        common = {"workers": self.workers}
        changes = {"crypto": crypto or {}}
        self.pair = Pair(
            stage.suite.folder,
            ports,
            services + (more or []),
            stage.authority,
            name=name,
            source_changes=changes | {"source": common | SOURCE | (source or {})},
            dest_changes=changes | {"dest": common | DEST | (dest or {})},
        )
        self.relay = Chaos(stage.suite.folder, ports, self.pair.tunnel_port, f"{name}-chaos")
        self.pair.source_table["source"]["dest_tunnel_port"] = self.relay.port

    def bypass(self) -> None:
        """Before it starts: no relay, whose buffers would add to what is measured."""
        self.pair.source_table["source"]["dest_tunnel_port"] = self.pair.tunnel_port

    def __enter__(self) -> Broken:
        self.relay.__enter__()
        self.pair.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pair.__exit__(*error[:1])
        self.relay.__exit__(*error)

    @property
    def source(self) -> Process:
        assert self.pair.source
        return self.pair.source

    @property
    def dest(self) -> Process:
        assert self.pair.dest
        return self.pair.dest

    def ups(self) -> int:
        return len(self.source.events("session.up"))

    def wait_ups(self, before: int) -> None:
        """Until each worker has had one more session than when there had been so many in all."""
        self.source.wait_event("session.up", count=before + self.workers)

    def wait_downs(self, times: int = 1, **fields: object) -> None:
        """Until each worker has lost a session so many times."""
        self.source.wait_event("session.down", count=times * self.workers, **fields)

    def check_resumed(self, lost: int) -> None:
        """After so many losses of all sessions each one but a worker's first continued its tunnel,
        and no stream was given up."""
        for process in (self.source, self.dest):
            ups = process.events("session.up")
            check(len(ups) > lost // 2, f"only {len(ups)} sessions at {process.name}")
            fresh = [False] * self.workers
            resumed = [True] * (len(ups) - self.workers)
            check_equal([up["resumed"] for up in ups], fresh + resumed, "resumed")
            check_equal(process.events("tunnel.lost"), [], f"what {process.name} gave up")

    def median_pause(self) -> float:
        """Milliseconds from the end of a session to the next that carries its streams."""
        pauses = sorted(float(e["pause_ms"]) for e in self.source.events("session.resume"))
        return pauses[len(pauses) // 2]


class Transfers:
    """So many downloads and as many uploads by curl, all at once."""

    def __init__(
        self, stage: Stage, port: int, name: str, flows: int, mebibytes: int, rate: str
    ) -> None:
        self.nginx = stage.nginx
        self.folder = stage.suite.folder
        self.name = f"{name}-{stage.workers}"
        self.flows = flows
        original = self.nginx.files / self.name
        self.wanted = write_file(original, mebibytes)
        base = [program("curl"), "-sS", "--fail", "--limit-rate", rate]
        base += ["--max-time", str(int(180 * PATIENCE))]
        url = f"http://127.0.0.1:{port}/{self.name}"
        self.curls: list[subprocess.Popen] = []
        for number in range(flows):
            down = ["-o", str(self.got(number)), url]
            up = ["-T", str(original), f"{url}-{number}"]
            self.curls += [subprocess.Popen([*base, *argv]) for argv in (down, up)]

    def got(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number}"

    def are_running(self) -> bool:
        return any(curl.poll() is None for curl in self.curls)

    def check(self) -> None:
        statuses = [curl.wait() for curl in self.curls]
        check_equal(statuses, [0] * len(self.curls), "curl's exit statuses")
        for number in range(self.flows):
            for path in (self.got(number), self.nginx.files / f"{self.name}-{number}"):
                check_equal(sum_of(path), self.wanted, f"SHA-256 of {path.name}")
                path.unlink()
        (self.nginx.files / self.name).unlink()

    def kill(self) -> None:
        for curl in self.curls:
            if curl.poll() is None:
                curl.kill()
                curl.wait()
