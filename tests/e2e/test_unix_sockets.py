#!/usr/bin/env python3
"""Unix-domain sockets as listeners of a source: who may connect, what a target and the audit trail
are told, and what becomes of the file."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
from pathlib import Path

from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Daemon, Pair, Service, start, toml

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class Door(Conversation):
    """A conversation through a Unix socket."""

    def __init__(self, path: Path, seconds: float = 20.0) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(seconds * PATIENCE)
        self.sock.connect(str(path))


class Greeter:
    """A service that says what it was told first, in hexadecimal, and ends."""

    def __init__(self, port: int, size: int) -> None:
        self.size = size
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                said = b""
                while len(said) < self.size and (piece := peer.recv(self.size - len(said))):
                    said += piece
                peer.sendall(said.hex().encode())

    def __enter__(self) -> Greeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Stage:
    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.authority = Authority(suite.folder, algorithm="ecdsa-p256")
        # A role that root starts goes on as another account, and removes its sockets as that one.
        self.sockets = suite.folder / "sockets"
        self.sockets.mkdir()
        self.sockets.chmod(0o777)

    def pair(self, name: str, services: list[Service], rows: list[dict], **source: object) -> Pair:
        pair = Pair(self.suite.folder, self.suite.ports, services, self.authority, name=name)
        pair.source_table["source"] |= {"exposed_ports": rows, **source}
        return pair

    def path(self, name: str) -> Path:
        return self.sockets / f"{name}.sock"


def row(service: Service, path: Path, mode: str | None = None) -> dict:
    made = {"port": service.port, "listen_path": path}
    return made if mode is None else made | {"listen_mode": mode}


def mode_of(path: Path) -> int:
    status = path.lstat()
    check(stat.S_ISSOCK(status.st_mode), f"{path} is not a socket")
    return stat.S_IMODE(status.st_mode)


def served(stage: Stage, echo: Echo) -> str:
    """Bytes both ways with any number of workers, beside the same service's port; one audit line
    that names the process."""
    service = Service(stage.suite.ports.take(), echo.port)
    paths = [stage.path("first"), stage.path("second")]
    rows = [{"port": service.port}, row(service, paths[0]), row(service, paths[1], "0660")]
    with stage.pair("served", [service], rows, workers=3) as pair:
        check_equal([mode_of(path) for path in paths], [0o600, 0o660], "permissions")
        uid = pair.source.wait_event("sandbox.ready")["uid"]
        check_equal({path.lstat().st_uid for path in paths}, {uid}, "whose they are")
        ready = pair.source.events("source.ready")[0]
        check_equal(ready["ports"], f"{service.port},{paths[0]},{paths[1]}", "what it listens on")
        with Door(paths[0]) as talk:
            talk.say(b"x" * 1_000_000)
            talk.finish()
        line = pair.dest.wait_event("audit.stream")
        wanted = {
            "result": "done",
            "client": f"unix:uid={os.getuid()},pid={os.getpid()}",
            "port": service.port,
            "bytes_to_target": 1_000_000,
            "bytes_from_target": 1_000_000,
        }
        for key, value in wanted.items():
            check_equal(line[key], value, key)
        exchange(service.port, 1000)
        talks = [Door(paths[i % 2]) for i in range(100)]
        for talk in talks:
            talk.say(b"all at once")
        for talk in talks:
            talk.finish()
        pair.dest.wait_event("audit.stream", count=102, result="done")
        # The target's end, while the client has more to say.
        with Door(paths[0]) as talk:
            talk.say(b"half")
            talk.sock.shutdown(socket.SHUT_WR)
            check_equal(talk.sock.recv(1), b"", "what comes behind the target's end")
    check(not any(path.exists() for path in paths), "the files are still there")
    return "2 sockets, 3 workers"


def held(stage: Stage, echo: Echo) -> None:
    """While there is no session a client waits, and connection_timeout_ms ends that."""
    service = Service(stage.suite.ports.take(), echo.port)
    path = stage.path("held")
    pair = stage.pair("held", [service], [row(service, path)], connection_timeout_ms=1000)
    with start("source", "held-source", stage.suite.folder, pair.source_table) as source:
        source.wait_event("source.ready")
        with Door(path) as talk:
            check_equal(talk.sock.recv(1), b"", "the end of a client that waited in vain")
        line = source.wait_event("stream.refused", error="timeout")
        check_equal(line["client"], f"unix:uid={os.getuid()},pid={os.getpid()}", "client")


def headers(stage: Stage) -> None:
    """A client without an address: UNKNOWN in version 1, LOCAL in version 2."""
    unknown, local = b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00"
    for version, wanted in (("v1", unknown), ("v2", local)):
        service = Service(stage.suite.ports.take(), stage.suite.ports.take())
        path = stage.path(version)
        pair = stage.pair(version, [service], [row(service, path)])
        pair.dest_table["dest"]["exposed_services"][0]["proxy_protocol"] = version
        size = len(wanted) + 5
        with Greeter(service.target_port, size), pair, Door(path) as talk:
            talk.sock.sendall(b"hello")
            said = b""
            while len(said) < 2 * size and (piece := talk.sock.recv(2 * size - len(said))):
                said += piece
            check_equal(bytes.fromhex(said.decode()), wanted + b"hello", version)


def refused_start(stage: Stage, name: str, rows: list[dict]) -> str:
    """The source has to end by itself; what it says."""
    table = stage.pair(name, [], rows).source_table
    with start("source", name, stage.suite.folder, table) as source:
        check(source.wait(10) != 0, "it ended as if all were well")
        return source.text()


def files(stage: Stage, echo: Echo) -> str:
    """A stale file is replaced, one in use is not, what is no socket is never removed."""
    service = Service(stage.suite.ports.take(), echo.port)
    path = stage.path("file")
    pair = stage.pair("file", [service], [row(service, path)])
    with pair:
        said = refused_start(stage, "file-second", [row(service, path)])
        check(f"{path}: another process listens there" in said, f"it said {said}")
        with Door(path) as talk:
            talk.say(b"the first still serves")
        # A process that is killed leaves its file.
        pair.source.send_signal(signal.SIGKILL)
        pair.source.popen.wait()
        check(path.exists(), "the file of a process that was killed is gone")
        again: Daemon = start("source", "file-again", stage.suite.folder, pair.source_table)
        with again:
            again.wait_event("session.up")
            with Door(path) as talk:
                talk.say(b"served again")
                talk.finish()
            # Whoever puts a file of his own there keeps it.
            path.unlink()
            path.write_text("mine")
        check_equal(path.read_text(), "mine", "a file of somebody else")
        pair.source = None
    said = refused_start(stage, "file-other", [row(service, path)])
    check("not a socket" in said, f"it said {said}")
    check_equal(path.read_text(), "mine", "a file that is no socket")
    said = refused_start(stage, "file-none", [row(service, stage.suite.folder / "none" / "x")])
    check("no such folder" in said, f"it said {said}")
    # A start that fails later on leaves no file behind.
    first = stage.path("first-of-two")
    refused_start(stage, "file-two", [row(service, first), row(service, path)])
    check(not first.exists(), "the file of a start that failed is still there")
    return "stale replaced, others kept"


def reloaded(stage: Stage, echo: Echo) -> None:
    """A socket that comes later, made with the rights that are left to the role by then; other
    permissions for both of them."""
    service = Service(stage.suite.ports.take(), echo.port)
    first, later = stage.path("first"), stage.path("later")
    with stage.pair("later", [service], [row(service, first)]) as pair:
        pair.source_table["source"]["exposed_ports"].append(row(service, later, "0660"))
        (pair.folder / "later-source.toml").write_text(toml(pair.source_table))
        pair.source.send_signal(signal.SIGHUP)
        pair.source.wait_event("config.reloaded")
        check_equal(mode_of(later), 0o660, "permissions")
        with Door(later) as talk:
            talk.say(b"through the new one")
            talk.finish()
        rows = pair.source_table["source"]["exposed_ports"]
        rows[0]["listen_mode"], rows[1]["listen_mode"] = "0666", "0600"
        (pair.folder / "later-source.toml").write_text(toml(pair.source_table))
        pair.source.send_signal(signal.SIGHUP)
        wait_until(lambda: len(pair.source.events("config.reloaded")) == 2, 20, "the reload")
        check_equal([mode_of(path) for path in (first, later)], [0o666, 0o600], "other permissions")
    check(not later.exists(), "the file is still there")


def draining(stage: Stage, echo: Echo) -> None:
    """The file goes when the end begins: nobody new comes, and who is there finishes."""
    service = Service(stage.suite.ports.take(), echo.port)
    path = stage.path("drain")
    with stage.pair("drain", [service], [row(service, path)]) as pair, Door(path) as talk:
        talk.say(b"before")
        pair.source.send_signal(signal.SIGTERM)
        wait_until(lambda: not path.exists(), 10, "the file to go")
        talk.say(b"after")
        talk.finish()
        check_equal(pair.source.wait(20), 0, "status")


def main() -> int:
    with Suite("Unix sockets") as suite, Echo(suite.folder, suite.ports) as echo:
        stage = Stage(suite)
        suite.run("clients through Unix sockets", served, stage, echo)
        suite.run("a client that waits in vain", held, stage, echo)
        suite.run("what a target is told of such a client", headers, stage)
        suite.run("the file", files, stage, echo)
        suite.run("one that comes with a reload", reloaded, stage, echo)
        suite.run("the end", draining, stage, echo)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
