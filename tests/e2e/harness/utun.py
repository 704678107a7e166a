"""utun as the tests see it: certificates, configuration files, and pairs of source and dest."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from harness import memcheck
from harness.ports import Ports
from harness.process import Process, run

DEFAULT_ALGORITHM = "ML-DSA-65"
KEM_MODES = ("hybrid", "mlkem768", "mceliece460896")


def binary() -> Path:
    named = os.environ.get("UTUN")
    path = Path(named) if named else Path(__file__).resolve().parents[3] / "build" / "utun"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; build it, or name another with UTUN=")
    return path.resolve()


# ------------------------------------------------------------------------------------------------
# Certificates


@dataclass
class Identity:
    cert: Path
    key: Path


class Authority:
    """A certificate authority in a folder of its own, and what it issues. Each name is made once."""

    def __init__(self, folder: Path, name: str = "ca", algorithm: str = DEFAULT_ALGORITHM) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.algorithm = algorithm
        self.ca = self.make("ca", "ca", "--common-name", f"Test {name}", "--algorithm", algorithm)
        self.issued: dict[str, Identity] = {}

    def make(self, role: str, name: str, *options: object) -> Identity:
        made = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        argv = [binary(), "cert", role, "--out-cert", made.cert, "--out-key", made.key]
        run([*argv, *map(str, options)], seconds=30)
        return made

    def issue(self, role: str, name: str, *options: object) -> Identity:
        """A "server" or "client" certificate, the same again for the same name."""
        if name not in self.issued:
            signer = ["--ca-cert", self.ca.cert, "--ca-key", self.ca.key]
            kind = ["--common-name", name, "--algorithm", self.algorithm]
            self.issued[name] = self.make(role, name, *kind, *signer, *options)
        return self.issued[name]

    def server(self) -> Identity:
        return self.issue(
            "server", "dest", "--dns-names", "localhost", "--ip-addresses", "127.0.0.1,::1"
        )

    def client(self) -> Identity:
        return self.issue("client", "source")


# ------------------------------------------------------------------------------------------------
# Configuration

# The sandbox forbids what memcheck does itself: code that it writes.
SECURITY = {"sandbox": False} if memcheck.ON else {}

# How many workers a role has in tests that do not say: the same tests, with other threads.
WORKERS = int(os.environ.get("UTUN_TEST_WORKERS", "1"))


def toml(tables: dict[str, object]) -> str:
    """TOML of nested tables, with lists of tables for lists of dictionaries."""

    def value(item: object) -> str:
        if isinstance(item, bool):
            return "true" if item else "false"
        if isinstance(item, int):
            return str(item)
        if isinstance(item, (list, tuple)):
            return "[" + ", ".join(value(x) for x in item) + "]"
        return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'

    def table(path: str, entries: dict[str, object]) -> list[str]:
        plain, nested = [], []
        for key, item in entries.items():
            name = f"{path}.{key}" if path else key
            if isinstance(item, dict):
                nested += ["", f"[{name}]", *table(name, item)]
            elif isinstance(item, list) and item and isinstance(item[0], dict):
                for one in item:
                    nested += ["", f"[[{name}]]", *table(name, one)]
            else:
                plain.append(f"{key} = {value(item)}")
        return plain + nested

    return "\n".join(table("", tables)) + "\n"


def merge(base: dict, changes: dict) -> dict:
    merged = dict(base)
    for key, item in changes.items():
        if isinstance(item, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], item)
        elif item is None:
            merged.pop(key, None)
        else:
            merged[key] = item
    return merged


@dataclass
class Service:
    """A port at the source, and the target behind the dest that it leads to."""

    port: int
    target_port: int
    target: str = "127.0.0.1"
    protocol: str = "tcp"

    def table(self) -> dict[str, object]:
        return {
            "name": f"service-{self.port}",
            "port": self.port,
            "target_ip": self.target,
            "target_port": self.target_port,
            "protocol": self.protocol,
        }


def dest_config(
    tunnel_port: int, services: list[Service], authority: Authority, changes: dict | None = None
) -> dict:
    identity = authority.server()
    base = {
        "dest": {
            "listen_ip": "127.0.0.1",
            "tunnel_port": tunnel_port,
            "workers": WORKERS,
            "exposed_services": [service.table() for service in services],
        },
        "auth": {
            "ca_cert_path": authority.ca.cert,
            "server_cert_path": identity.cert,
            "server_key_path": identity.key,
        },
        "crypto": {"kem_mode": "hybrid"},
        "security": SECURITY,
        "metrics": {"enabled": False},
    }
    return merge(base, changes or {})


def source_config(
    tunnel_port: int,
    exposed: list[int | Service],
    authority: Authority,
    changes: dict | None = None,
) -> dict:
    """Exposes services with their protocol, and bare ports for TCP."""
    identity = authority.client()
    base = {
        "source": {
            "listen_ip": "127.0.0.1",
            "dest_host": "127.0.0.1",
            "dest_tunnel_port": tunnel_port,
            "workers": WORKERS,
            "initial_reconnect_delay_ms": 100,
            "max_reconnect_delay_ms": 1000,
            "exposed_ports": [
                {"port": one.port, "protocol": one.protocol}
                if isinstance(one, Service)
                else {"port": one}
                for one in exposed
            ],
        },
        "auth": {
            "ca_cert_path": authority.ca.cert,
            "client_cert_path": identity.cert,
            "client_key_path": identity.key,
        },
        "crypto": {"kem_mode": "hybrid"},
        "security": SECURITY,
        "metrics": {"enabled": False},
    }
    return merge(base, changes or {})


# ------------------------------------------------------------------------------------------------
# Daemons


class Daemon(Process):
    """`utun source` or `utun dest`. What still runs at the end has to end well: a sanitizer that
    has found something, or a leak, says so with its exit status."""

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self.is_running():
            status = self.stop(seconds=10)
            if status != 0 and kind is None:
                raise RuntimeError(f"{self.name} ended with {status}")


def start(role: str, name: str, folder: Path, config: dict, *options: str) -> Daemon:
    """A daemon with this configuration, logging JSON."""
    path = folder / f"{name}.toml"
    path.write_text(toml(config))
    argv = [binary(), role, "--config", path, "--log-format", "json", *options]
    return Daemon(name, argv, folder)


def ready(process: Daemon) -> Daemon:
    """Waits until all tunnels of a source are up, or a dest takes tunnels."""
    role = process.argv[1]
    up = process.wait_event(f"{role}.ready", seconds=15)
    if role == "source":
        process.wait_event("session.up", seconds=15, count=up.get("workers", 1))
    return process


@dataclass
class Pair:
    """A source and a dest for these services, started, connected, and stopped at the end."""

    folder: Path
    ports: Ports
    services: list[Service]
    authority: Authority
    kem_mode: str = "hybrid"
    name: str = "utun"
    source_changes: dict = field(default_factory=dict)
    dest_changes: dict = field(default_factory=dict)
    extra_exposed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tunnel_port = self.ports.take()
        mode = {"crypto": {"kem_mode": self.kem_mode}}
        self.dest_table = dest_config(
            self.tunnel_port, self.services, self.authority, merge(mode, self.dest_changes)
        )
        exposed = [*self.services, *self.extra_exposed]
        self.source_table = source_config(
            self.tunnel_port, exposed, self.authority, merge(mode, self.source_changes)
        )
        self.dest: Process | None = None
        self.source: Process | None = None

    def __enter__(self) -> Pair:
        self.dest = start("dest", f"{self.name}-dest", self.folder, self.dest_table)
        ready(self.dest)
        self.source = start("source", f"{self.name}-source", self.folder, self.source_table)
        ready(self.source)
        return self

    def stop(self) -> dict[str, int]:
        """Ends both, the second signal cutting streams that are left; their exit statuses."""
        statuses = {}
        for process in (self.source, self.dest):
            if process is None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(1)
            except TimeoutError:
                pass
            statuses[process.name] = process.stop(seconds=10)
        return statuses

    def __exit__(self, kind: type | None, *_: object) -> None:
        wrong = {name: status for name, status in self.stop().items() if status != 0}
        if wrong and kind is None:
            raise RuntimeError(f"ended with another status than 0: {wrong}")
