#!/usr/bin/env python3
"""Targets that are down: waited for, tried by one at a time, and served the moment they are back."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
import urllib.request

from harness.echo import Conversation, Echo, exchange
from harness.process import GROWTH_KIB, PATIENCE, wait_until
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, Pair, Service

WAITING = 40
SHORT = 200_000 if LONG else 6_000  # connections, one after another in each of so many threads:
THREADS = 4


class Stage:
    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.authority = Authority(suite.folder)

    def pair(self, name: str, echo: Echo, changes: dict) -> tuple[Pair, Service]:
        service = Service(self.suite.ports.take(), echo.port)
        pair = Pair(
            self.suite.folder,
            self.suite.ports,
            [service],
            self.authority,
            name=name,
            dest_changes={"dest": changes},
        )
        return pair, service


def waited_for(stage: Stage) -> str:
    """Many connections wait for a target that is down; all are served when it comes."""
    echo = Echo(stage.suite.folder, stage.suite.ports, name="late")
    pair, service = stage.pair("late", echo, {"target_connect_timeout_ms": 60_000})
    with pair, contextlib.ExitStack() as stack:
        talks = [stack.enter_context(Conversation(service.port)) for _ in range(WAITING)]
        for number, talk in enumerate(talks):
            talk.sock.sendall(b"%08d" % number)
        time.sleep(1.5)
        check_equal(pair.dest.events("audit.stream"), [], "streams that did not wait")
        began = time.monotonic()
        with echo:
            up = time.monotonic()
            for number, talk in enumerate(talks):
                check_equal(talk.sock.recv(8), b"%08d" % number, "what came back")
            served = time.monotonic()
            for talk in talks:
                talk.finish()
    check(served - up < 2 * PATIENCE, f"served {served - up:.1f} s after it was back")
    return f"{WAITING} served {served - began:.2f} s after its start"


def given_up(stage: Stage) -> str:
    """A target that does not come: reset after target_connect_timeout_ms, with the reason."""
    echo = Echo(stage.suite.folder, stage.suite.ports, name="never")
    pair, service = stage.pair("never", echo, {"target_connect_timeout_ms": 700})
    with pair, Conversation(service.port) as talk:
        began = time.monotonic()
        talk.sock.settimeout(10 * PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            raise AssertionError(f"{talk.sock.recv(1)!r} instead of a reset")
        waited = time.monotonic() - began
        check(waited > 0.6, f"reset after {waited:.2f} s")
        line = pair.dest.wait_event("audit.stream", result="failed")
        check_equal(line["reason"], "refused", "reason")
    return f"reset after {waited:.2f} s"


def goes_and_comes(stage: Stage) -> str:
    """A target that is restarted under load: no connection fails while it is away."""
    echo = Echo(stage.suite.folder, stage.suite.ports, name="restarted")
    pair, service = stage.pair("restarted", echo, {"target_connect_timeout_ms": 30_000})
    over = threading.Event()
    fresh: list[float] = []

    def load() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, AssertionError):
                exchange(service.port, 1000)
                fresh.append(time.monotonic())

    with pair, echo:
        threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(fresh) > 20, 10, "load")
            echo.process.popen.kill()
            echo.process.popen.wait()
            time.sleep(1)
            echo.process = echo.start()
            echo.process.wait_listening(echo.port)
            back, before = time.monotonic(), len(fresh)
            wait_until(lambda: len(fresh) > before + 20, 10, "load again")
        finally:
            over.set()
            for thread in threads:
                thread.join()
        refused = pair.dest.events("audit.stream", result="failed")
        check_equal(refused, [], "connections that did not wait")
    return f"served again {fresh[before] - back:.2f} s after it was back"


def unix_socket(stage: Stage) -> str:
    """A Unix socket as target: served, waited for, and an end in each direction."""
    path = stage.suite.folder / "service.sock"
    pair, service = stage.pair("unix", Echo(stage.suite.folder, stage.suite.ports, name="none"), {})
    row = pair.dest_table["dest"]["exposed_services"][0]
    del row["target_ip"], row["target_port"]
    row["target_path"] = path
    page = stage.suite.ports.take()
    pair.dest_table["metrics"] = {"enabled": True, "metrics_port": page}

    def state() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/status", timeout=20) as answer:
            target = json.load(answer)["services"][0]["target"]
        check_equal(target["host"], str(path), "the target in /status")
        return target["state"]

    with pair, Conversation(service.port) as early:
        early.sock.sendall(b"early")
        time.sleep(0.3)
        check_equal(state(), "unknown", "the state of a target that nobody has reached")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o777)  # a dest that root started goes on as another account
            listener.listen()
            listener.settimeout(5 * PATIENCE)

            def serve() -> None:
                for _ in range(2):
                    peer, _ = listener.accept()
                    with peer:
                        while data := peer.recv(65536):
                            peer.sendall(data)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            check_equal(early.sock.recv(5), b"early", "what came back")
            early.finish()
            exchange(service.port, 1_000_000)
            thread.join()
        line = pair.dest.wait_event("audit.stream", count=2)
        check_equal(line["target"], str(path), "target")
        check_equal(state(), "up", "its state")
    return "served"


def short_connections(stage: Stage) -> str:
    """Many short connections: memory is flat after the first tenth."""
    with Echo(stage.suite.folder, stage.suite.ports, name="short") as echo:
        pair, service = stage.pair("short", echo, {})
        pair.dest_table["logging"] = {"audit": False}
        with pair:
            each = SHORT // THREADS // 10

            def tenth() -> None:
                def some() -> None:
                    for _ in range(each):
                        exchange(service.port, 100)

                threads = [threading.Thread(target=some) for _ in range(THREADS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            sizes = []
            for _ in range(10):
                tenth()
                sizes.append([p.rss_kib() for p in (pair.source, pair.dest)])
            growth = [max(s[side] for s in sizes[1:]) - sizes[0][side] for side in range(2)]
            check(max(growth) < GROWTH_KIB, f"grew by {growth} KiB after the first tenth: {sizes}")
            fds = [p.fd_count() for p in (pair.source, pair.dest)]
            check(max(fds) < 100, f"descriptors left: {fds}")
    return f"{each * 10 * THREADS}, growth {growth} KiB"


def main() -> int:
    with Suite("Targets") as suite:
        stage = Stage(suite)
        suite.run("a target that is waited for", waited_for, stage)
        suite.run("a target that does not come", given_up, stage)
        suite.run("a target that is restarted", goes_and_comes, stage)
        suite.run("a Unix socket", unix_socket, stage)
        suite.run("short connections", short_connections, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
