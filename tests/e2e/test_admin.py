#!/usr/bin/env python3
"""The admin endpoint: metrics that promtool takes and that are exact, health that follows what
happens, status on a terminal and as a page in a browser, and clients that mean no good."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from datetime import datetime

from harness.chaos import Chaos
from harness.echo import Conversation, Echo
from harness.process import PATIENCE, SANITIZED, Process, program, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Identity, Pair, Service, binary, merge, ready, start

ON = {"metrics": {"enabled": True, "metrics_port": 0}}
# Lost sessions are noticed, and sought again, within the patience of a test.
HASTY = {
    "source": {
        "heartbeat_interval_ms": 500,
        "heartbeat_timeout_ms": 500,
        "max_missed_pongs": 1,
        "initial_reconnect_delay_ms": 50,
        "max_reconnect_delay_ms": 200,
    }
}


def endpoint(process: Process) -> int:
    return process.wait_event("admin.listening", seconds=10)["port"]


def get(port: int, path: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, also of a refusal."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode(), dict(reply.headers)
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(), dict(e.headers)


def health(port: int) -> dict:
    status, body, _ = get(port, "/health")
    check_equal(status, 200, "status of /health")
    return json.loads(body)


class Metrics:
    """One reading of /metrics."""

    LINE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$")

    def __init__(self, port: int) -> None:
        status, self.text, headers = get(port, "/metrics")
        check_equal(status, 200, "status of /metrics")
        check("version=0.0.4" in headers["Content-Type"], "the content type")
        self.samples: dict[tuple, float] = {}
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            match = self.LINE.match(line)
            check(match, f"not a sample: {line}")
            labels = frozenset(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            self.samples[match[1], labels] = float(match[3])

    def value(self, name: str, **labels: object) -> float:
        """The sum of the samples that have these labels, and perhaps others."""
        wanted = {(key, str(value)) for key, value in labels.items()}
        return sum(v for (n, has), v in self.samples.items() if n == name and wanted <= has)


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo
        self.service = Service(suite.ports.take(), echo.port, protocol="both")

    def pair(self, name: str, source: dict | None = None, dest: dict | None = None) -> Pair:
        return Pair(
            self.suite.folder,
            self.suite.ports,
            [self.service],
            self.authority,
            name=name,
            source_changes=merge(
                merge({"source": {"exposed_ports": [self.exposed()]}}, ON), source or {}
            ),
            dest_changes=merge(ON, dest or {}),
        )

    def exposed(self) -> dict[str, object]:
        return {"port": self.service.port, "protocol": "both"}

    def services(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """How each role calls the service in its metrics."""
        return ("source", str(self.service.port)), ("dest", f"service-{self.service.port}")


# -- metrics


def promtool_agrees(stage: Stage, pair: Pair) -> str:
    lines = 0
    for process in (pair.source, pair.dest):
        metrics = Metrics(endpoint(process))
        checked = subprocess.run(
            [program("promtool"), "check", "metrics"],
            input=metrics.text,
            capture_output=True,
            text=True,
            timeout=30,
        )
        check_equal((checked.returncode, checked.stdout + checked.stderr), (0, ""), "promtool")
        lines += len(metrics.samples)
    return f"{lines} samples"


def every_metric_is_declared(stage: Stage, pair: Pair) -> None:
    """What is served is what docs/METRICS.md lists, and almost all of that is served at once."""
    table = subprocess.run(
        [binary(), "check", "--metrics"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    rows = re.findall(r"^\| `([a-z_0-9]+)` \| \w+ \|.*?\| (both|source|dest) \|", table, re.M)
    check(len(rows) > 40, "the table has too few rows")
    # Counted by reason: without an event there is no sample.
    rare = {name for name, _ in rows if re.search(r"refused|reconnects|refreshes|closed|crl|reloads", name)}
    for process, role in ((pair.source, "source"), (pair.dest, "dest")):
        served = {
            re.sub(r"_(bucket|sum|count)$", "", name)
            for name, _ in Metrics(endpoint(process)).samples
        }
        declared = {name for name, roles in rows if roles in (role, "both")}
        check_equal(served - declared, set(), f"undeclared metrics of the {role}")
        check_equal(declared - served - rare, set(), f"declared and not served by the {role}")


def counts_every_byte(stage: Stage, pair: Pair) -> str:
    """Known traffic, then exactly that at both ends, and at rest nothing left over."""
    before = {role: Metrics(endpoint(getattr(pair, role))) for role in ("source", "dest")}
    sizes = [1, 777, 100_000, 3_000_001]
    for size in sizes:
        with Conversation(stage.service.port) as talk:
            talk.say(os.urandom(size))
            talk.finish()
    for role, service in stage.services():
        port = endpoint(getattr(pair, role))

        def gain(name: str, **labels: object) -> float:
            return after.value(name, **labels) - before[role].value(name, **labels)

        def is_at_rest() -> bool:
            nonlocal after
            after = Metrics(port)
            return after.value("utun_streams", service=service) == 0

        after = before[role]
        wait_until(is_at_rest, 5, f"the streams of the {role} to end")
        for direction in ("to_target", "to_client"):
            check_equal(
                gain("utun_stream_bytes_total", service=service, direction=direction),
                sum(sizes),
                f"bytes {direction} at the {role}",
            )
        check_equal(gain("utun_streams_opened_total", service=service), 4, f"streams at the {role}")
        check_equal(
            gain("utun_streams_closed_total", service=service, result="ok"), 4, "that ended well"
        )
        wire = gain("utun_wire_bytes_total", direction="in")
        check(sum(sizes) < wire < 1.05 * sum(sizes), f"{wire} bytes came for {sum(sizes)}")
        for name in ("utun_streams_paused", "utun_streams_half_closed", "utun_buffer_bytes"):
            check_equal(after.value(name), 0, f"{name} of the {role} at rest")
        check_equal(after.value("utun_sessions", state="up"), after.value("utun_workers"), "up")
        check(after.value("utun_session_rtt_seconds_count") > 0, "no round trip was measured")
        check(after.value("utun_handshake_duration_seconds_count") > 0, "no handshake counted")
    connects = after.value("utun_target_connect_duration_seconds_count")
    check(connects >= 4, f"{connects} connections to the target")
    return f"{sum(sizes)} bytes each way"


def counts_every_datagram(stage: Stage, pair: Pair) -> str:
    """UDP on the same port as the streams: flows and datagrams, exactly, at both ends."""
    sizes = [1, 500, 1400, 9000]
    with UdpEcho(stage.service.target_port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10 * PATIENCE)
            sock.connect(("127.0.0.1", stage.service.port))
            for size in sizes:
                said = os.urandom(size)
                sock.send(said)
                check_equal(sock.recv(65536), said, "the answer")
    for role, service in stage.services():
        m = Metrics(endpoint(getattr(pair, role)))
        for direction in ("to_target", "to_client"):
            labels = {"service": service, "direction": direction}
            check_equal(m.value("utun_datagrams_total", **labels), len(sizes), f"{role} {direction}")
            check_equal(m.value("utun_datagram_bytes_total", **labels), sum(sizes), "bytes")
        check_equal(m.value("utun_flows_opened_total", service=service), 1, "flows")
        check_equal(m.value("utun_datagrams_dropped_total"), 0, "drops")
    return f"{len(sizes)} datagrams each way"


class UdpEcho:
    """Sends every datagram back, while it is used with `with`."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        while True:
            said, client = self.sock.recvfrom(65536)
            if not said:
                return
            self.sock.sendto(said, client)

    def __enter__(self) -> UdpEcho:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.sendto(b"", self.sock.getsockname())
        self.thread.join()
        self.sock.close()


def counts_refusals(stage: Stage) -> None:
    """A target that is not there, and a stranger at the dest's door."""
    nobody = Service(stage.suite.ports.take(), stage.suite.ports.take())
    with Pair(
        stage.suite.folder,
        stage.suite.ports,
        [nobody],
        stage.authority,
        name="refusals",
        source_changes=ON,
        dest_changes=merge(ON, {"dest": {"target_connect_timeout_ms": 200}}),
    ) as pair:
        with socket.create_connection(("127.0.0.1", nobody.port), timeout=10) as sock:
            try:
                check_equal(sock.recv(1), b"", "an answer of nobody")
            except ConnectionResetError:
                pass
        with socket.create_connection(("127.0.0.1", pair.tunnel_port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        port = endpoint(pair.dest)

        def errors() -> float:
            m = Metrics(port)
            return m.value("utun_streams_closed_total") - m.value(
                "utun_streams_closed_total", result="ok"
            )

        wait_until(lambda: errors() == 1, 5, "the refused stream to be counted")
        m = Metrics(port)
        check_equal(m.value("utun_handshakes_total", result="tls"), 1, "failed handshakes")
        check_equal(m.value("utun_handshakes_total", result="ok"), 1, "good handshakes")
        target = json.loads(get(port, "/status")[1])["services"][0]["target"]
        check_equal(target["state"], "down", "the target's state")


def counts_what_happens_to_sessions(stage: Stage) -> str:
    """Cuts under a stream, refreshes and key rotations: counted at both ends, the stream goes on."""
    changes = {
        "source": {"initial_reconnect_delay_ms": 50, "connection_refresh_interval_secs": 2},
        "crypto": {"key_rotation_interval_seconds": 3, "rehandshake_before_expiry_seconds": 2},
    }
    dest = {"dest": {"handshake_rate_limit": 0}, "crypto": changes["crypto"]}
    pair = stage.pair("happenings", source=changes, dest=dest)
    with Chaos(stage.suite.folder, stage.suite.ports, pair.tunnel_port, "relay") as relay:
        pair.source_table["source"]["dest_tunnel_port"] = relay.port
        with pair, Conversation(stage.service.port) as talk:
            ports = [endpoint(process) for process in (pair.source, pair.dest)]
            talk.say(os.urandom(2_000_000))
            for _ in range(3):
                ups = len(pair.source.events("session.up"))
                relay.do("rst")
                wait_until(lambda: len(pair.source.events("session.up")) > ups, 10, "a session")
                talk.say(os.urandom(2_000_000))

            def have_happened() -> bool:
                talk.say(b"typing")
                return all(
                    m.value("utun_resumes_total") >= 3
                    and m.value("utun_sessions_closed_total", reason="superseded") >= 1
                    and m.value("utun_key_rotations_total", result="ok") >= 1
                    for m in map(Metrics, ports)
                )

            wait_until(have_happened, 30, "cuts, a refresh and a rotation to be counted")
            source, dest_end = map(Metrics, ports)
            talk.finish()
    check(source.value("utun_reconnects_total") >= 3, "reconnects")
    check(source.value("utun_refreshes_total", result="ok") >= 1, "refreshes")
    for m in (source, dest_end):
        pauses = m.value("utun_resume_pause_seconds_count")
        check_equal(pauses, m.value("utun_resumes_total"), "pauses for resumes")
        check(m.value("utun_session_key_age_seconds") < 60, "the age of the keys")
        check_equal(m.value("utun_tunnels", state="carried"), m.value("utun_workers"), "carried")
    return (
        f"{source.value('utun_resumes_total'):.0f} resumes,"
        f" {source.value('utun_refreshes_total'):.0f} refreshes,"
        f" {source.value('utun_key_rotations_total'):.0f} rotations"
    )


# -- health


def health_follows_the_dest(stage: Stage) -> str:
    """The dest is killed: not ready, connecting, unhealthy; it returns: healthy and ready."""
    with stage.pair("health", source=HASTY) as pair:
        port = endpoint(pair.source)
        wait_until(lambda: get(port, "/ready")[0] == 200, 5, "the source to be ready")
        now = health(port)
        check_equal((now["state"], now["ready"], now["role"]), ("healthy", True, "source"), "it")
        check(now["rtt_ms"] > 0 and now["uptime_secs"] > 0, "no times")
        check_equal(utun_health(port), 0, "utun health")
        check_equal(utun_health(port, "--ready"), 0, "utun health --ready")
        check_equal(utun_health(port, "--alive"), 0, "utun health --alive")

        pair.dest.stop(9)
        started = time.monotonic()
        wait_until(lambda: get(port, "/ready")[0] == 503, 5, "the source not to be ready")
        unready = time.monotonic() - started
        wait_until(lambda: health(port)["state"] == "unhealthy", 10, "it to be unhealthy")
        now = health(port)
        check("refused" in now["message"], f"the message is {now['message']!r}")
        check(now["attempts"] >= 3, f"{now['attempts']} attempts")
        check_equal(utun_health(port), 1, "utun health of an unhealthy source")
        check_equal(utun_health(port, "--ready"), 1, "utun health --ready")
        # Whoever restarts what is not alive must not restart this one.
        check_equal(utun_health(port, "--alive"), 0, "utun health --alive without a dest")
        m = Metrics(port)
        check_equal(m.value("utun_health_state", state="unhealthy"), 1, "the metric")
        check_equal(m.value("utun_ready"), 0, "utun_ready")
        check(m.value("utun_handshakes_total", result="refused") >= 3, "failed tries")
        check(m.value("utun_reconnects_total") >= 1, "no reconnect was counted")

        pair.dest = start("dest", "health-dest-again", stage.suite.folder, pair.dest_table)
        ready(pair.dest)
        wait_until(lambda: get(port, "/ready")[0] == 200, 10, "the source to be ready again")
        check_equal(health(port)["state"], "healthy", "state")
        dest_port = endpoint(pair.dest)
        wait_until(lambda: get(dest_port, "/ready")[0] == 200, 5, "the dest to be ready")

        pair.source.stop()
        wait_until(lambda: get(dest_port, "/ready")[0] == 503, 5, "the dest not to be ready")
        now = health(dest_port)
        check_equal(
            (now["state"], now["message"]), ("connecting", "no source is connected"), "the dest"
        )
        check_equal(utun_health(dest_port), 0, "utun health of a dest that waits")
        return f"not ready {unready * 1000:.0f} ms after the dest was killed"


def utun_health(port: int, *options: str) -> int:
    argv = [binary(), "health", "--endpoint", f"http://127.0.0.1:{port}", *options]
    return subprocess.run(argv, capture_output=True, timeout=30).returncode


def health_without_anybody(stage: Stage) -> None:
    port = stage.suite.ports.take()
    for option in ((), ("--ready",), ("--alive",)):
        check_equal(utun_health(port, *option), 1, f"utun health {option} of nobody")
    check_equal(utun_health(port, "--ready", "--alive"), 2, "of two questions")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        check_equal(utun_health(silent.getsockname()[1], "--timeout", "1"), 1, "of one who is mute")
        check(time.monotonic() - started < 5 * PATIENCE, "it did not keep its timeout")
    check_equal(utun_health(stage.echo.port, "--timeout", "1"), 1, "utun health of an echo")


# -- status


def status_on_a_terminal(stage: Stage, pair: Pair) -> None:
    for process, (role, service) in zip((pair.source, pair.dest), stage.services()):
        url = f"http://127.0.0.1:{endpoint(process)}"
        table = subprocess.run(
            [binary(), "status", "--endpoint", url], capture_output=True, text=True, timeout=30
        )
        check_equal((table.returncode, table.stderr), (0, ""), "utun status")
        for word in (f"utun {role}", "healthy", "ready", service, "X25519MLKEM768", "mldsa65"):
            check(word in table.stdout, f"{word!r} is not in\n{table.stdout}")
        as_json = run([binary(), "status", "--json", "--endpoint", url], seconds=30).stdout
        check_equal(json.loads(as_json)["role"], role, "role in --json")


def shown_certificate(identity: Identity) -> dict[str, object]:
    """What openssl says of it, as /status puts it; the time that is left stands for itself."""
    said = run(
        ["openssl", "x509", "-in", identity.cert, "-noout", "-fingerprint", "-sha256"]
        + ["-serial", "-enddate", "-dateopt", "iso_8601"]
    ).stdout
    values = dict(line.partition("=")[::2] for line in said.splitlines())
    serial = values["serial"]
    return {
        "fingerprint": values["sha256 Fingerprint"].replace(":", "").lower(),
        "serial": ":".join(serial[i : i + 2] for i in range(0, len(serial), 2)),
        "issuer": "CN=Test ca",
        "expires_at": values["notAfter"].replace(" ", "T"),
    }


def sessions_name_their_certificates(stage: Stage, pair: Pair) -> None:
    """Each side shows which of the other's certificates a session rests on."""
    for process, peer in (
        (pair.source, stage.authority.server()),
        (pair.dest, stage.authority.client()),
    ):
        status = json.loads(get(endpoint(process), "/status")[1])
        tunnels = [tunnel for worker in status["workers"] for tunnel in worker["tunnels"]]
        sessions = [session for tunnel in tunnels for session in tunnel["sessions"]]
        check(len(sessions) > 0, "no session is shown")
        for session in sessions:
            shown = session["certificate"]
            left = shown.pop("expires_in_secs")
            check_equal(shown, shown_certificate(peer), f"the certificate at {process.name}")
            over = datetime.fromisoformat(shown["expires_at"].replace("Z", "+00:00")).timestamp()
            off = abs(over - status["taken_at_ms"] / 1000 - left)
            check(off <= 1, f"{left} s left, which is wrong by {off:.0f} s")


def status_live_in_tmux(stage: Stage, pair: Pair) -> str:
    """--watch on a real terminal: it repaints, shows the rate of a transfer, leaves no trace."""
    tmux = [program("tmux"), "-S", str(stage.suite.folder / "tmux.socket"), "-f", "/dev/null"]
    url = f"http://127.0.0.1:{endpoint(pair.source)}"
    command = f"'{binary()}' status --watch --endpoint {url}; echo ended with $?; sleep 30"

    def screen() -> str:
        return run([*tmux, "capture-pane", "-p", "-t", "watch"], seconds=10).stdout

    run([*tmux, "new-session", "-d", "-s", "watch", "-x", "130", "-y", "20", command], seconds=10)
    try:
        wait_until(lambda: "Services" in screen(), 10, "the table")
        with Conversation(stage.service.port) as talk:

            def is_moving() -> bool:
                talk.say(os.urandom(2_000_000))
                return re.search(r"[1-9]\S* [kM]B/s", screen()) is not None

            wait_until(is_moving, 10, "a rate")
            shown = screen()
            check(shown.count("Services") == 1, f"not repainted in place:\n{shown}")
            check("1 streams" in shown, f"no stream is shown:\n{shown}")
            talk.finish()
        run([*tmux, "send-keys", "-t", "watch", "C-c"], seconds=10)
        wait_until(lambda: "ended with 0" in screen(), 10, "it to end")
        check("Services" not in screen(), "the table is left on the screen")
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, timeout=10)
    return next(line for line in shown.splitlines() if str(stage.service.port) in line).strip()


def status_fits_the_terminal(stage: Stage, pair: Pair) -> None:
    """At any width nothing wraps and nothing is lost; what has no room in height is counted."""
    tmux = [program("tmux"), "-S", str(stage.suite.folder / "tmux.socket"), "-f", "/dev/null"]
    url = f"http://127.0.0.1:{endpoint(pair.dest)}"
    words = ["source", "certificate expires in 36", "CN=Test ca", "X25519MLKEM768", "mldsa65"]
    words += [shown_certificate(stage.authority.client())["fingerprint"][:16]]
    words += [f"service-{stage.service.port}", f"127.0.0.1:{stage.echo.port}", "clients in all"]

    def screen(*options: str) -> str:
        shown = run([*tmux, "capture-pane", "-p", "-t", "fits", *options], seconds=10).stdout
        return "\n".join(line.rstrip() for line in shown.splitlines())

    def resize(columns: int, lines: int) -> None:
        size = ["-x", str(columns), "-y", str(lines)]
        run([*tmux, "resize-window", "-t", "fits", *size], seconds=10)

    def fits(is_wide: bool) -> bool:
        shown, joined = screen(), screen("-J")  # -J: a line that has wrapped is one again
        text = " ".join(shown.split())
        wanted = [w for w in words if not (is_wide and w in ("clients in all", words[1]))]
        return shown == joined and all(word in text for word in wanted) and "..." not in text

    command = f"'{binary()}' status --watch --endpoint {url}"
    run([*tmux, "new-session", "-d", "-s", "fits", "-x", "80", "-y", "24", command], seconds=10)
    try:
        for columns in (80, 170, 100, 60, 120):
            resize(columns, 30)
            wait_until(lambda: fits(columns > 100), 10, f"it to fit into {columns} columns")
        resize(80, 8)
        wait_until(lambda: "more lines" in screen(), 10, "lines that have no room")
        check("utun dest" in screen(), f"the first line is gone:\n{screen()}")
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, timeout=10)


# -- the page


def browse(stage: Stage, url: str, *options: str) -> tuple[str, str]:
    """The page's elements after a while in a real browser, and what the browser had to say."""
    argv = [
        program("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={stage.suite.folder / 'chromium'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=9000",
        *options,
        url,
    ]
    env = {**os.environ, "HOME": str(stage.suite.folder)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90 * PATIENCE, env=env)
    check_equal(done.returncode, 0, "the browser's exit status")
    return done.stdout, done.stderr


def page_in_a_browser(stage: Stage, pair: Pair) -> str:
    """It shows what /status says, on a desk and on a phone, and its own policy stops nothing."""
    sizes = []
    for process, (role, service) in zip((pair.source, pair.dest), stage.services()):
        url = f"http://127.0.0.1:{endpoint(process)}/"
        dom, said = browse(stage, url, "--dump-dom")
        check("CONSOLE" not in said, f"the browser complains:\n{said}")
        for word in (f'id="role">{role}<', ">healthy<", ">ready<", service, "X25519MLKEM768"):
            check(word in dom, f"{word!r} is not in the page")
        check('id="stale" role="alert" hidden' in dom, "the page calls itself old")
        picture = stage.suite.folder / f"{role}.png"
        browse(stage, url, "--window-size=390,1400", f"--screenshot={picture}")
        check(picture.read_bytes().startswith(b"\x89PNG"), "no picture")
        sizes.append(picture.stat().st_size)
    return f"pictures of {sizes[0]} and {sizes[1]} bytes"


def page_policy(stage: Stage, pair: Pair) -> None:
    """The policy is there, allows only hashes, and a browser that is given more refuses it."""
    status, body, headers = get(endpoint(pair.source), "/")
    policy = headers["Content-Security-Policy"]
    check_equal(status, 200, "status of /")
    check("unsafe" not in policy and "http" not in policy, f"the policy is {policy}")
    for part in ("default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'"):
        check(part in policy, f"{part} is not in {policy}")
    check(not re.search(r"https?://(?!www\.w3\.org/2000/svg)", body), "the page names other places")
    check_equal(headers["X-Content-Type-Options"], "nosniff", "X-Content-Type-Options")
    changed = body.replace("<main>", "<main><script>document.title='x'</script>").encode()
    head = f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: {policy}\r\n\r\n"
    with Serve(head.encode() + changed) as port:
        _, said = browse(stage, f"http://127.0.0.1:{port}/", "--dump-dom")
    check("Content Security Policy" in said, "a foreign script was not refused")


class Serve:
    """Answers every connection with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        try:
            while True:
                with self.listener.accept()[0] as sock:
                    sock.recv(65536)
                    sock.sendall(self.answer)
        except OSError:
            pass  # closed

    def __enter__(self) -> int:
        return self.listener.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


# -- clients that mean no good


def exchange_raw(port: int, request: bytes, seconds: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds * PATIENCE) as sock:
        sock.sendall(request)
        answer = b""
        try:
            while piece := sock.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def first_line(answer: bytes) -> str:
    return answer.split(b"\r\n", 1)[0].decode(errors="replace")


def refuses_what_it_does_not_serve(stage: Stage, pair: Pair) -> None:
    port = endpoint(pair.dest)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"):
        body = b"a" * 100
        head = f"{method} /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        line = first_line(exchange_raw(port, head.encode() + body))
        check(line.startswith("HTTP/1.1 40"), f"{method} is answered with {line!r}")
    answer = exchange_raw(port, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
    check(b" 405 " in answer and b"Allow: GET, HEAD" in answer, f"POST gets {answer[:100]!r}")
    answer = exchange_raw(port, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    check(answer.startswith(b"HTTP/1.1 200"), "HEAD is refused")
    check_equal(answer.split(b"\r\n\r\n", 1)[1], b"", "the body of a HEAD")
    for path in ("/nothing", "/metrics/", "//", "/../../etc/passwd", "/%2e%2e/etc/passwd"):
        check_equal(get(port, path)[0], 404, f"status of {path}")
    for header in ("a" * 100_000, "x: y\r\n" * 20_000):
        line = first_line(exchange_raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + header.encode()))
        check(line == "" or " 4" in line, f"huge headers are answered with {line!r}")
    line = first_line(exchange_raw(port, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"))
    check(line == "" or " 4" in line, f"a huge path is answered with {line!r}")
    line = first_line(exchange_raw(port, os.urandom(1000) + b"\r\n\r\n"))
    check(line == "" or " 4" in line, f"noise is answered with {line!r}")
    check_equal(get(port, "/health")[0], 200, "/health afterwards")


def other_names_are_refused_on_loopback(stage: Stage, pair: Pair) -> None:
    """DNS rebinding: a web page's own name that leads to 127.0.0.1. Elsewhere it has any name."""
    stranger = b"GET /status HTTP/1.1\r\nHost: attacker.example\r\n\r\n"
    answer = exchange_raw(endpoint(pair.source), stranger)
    check(answer.startswith(b"HTTP/1.1 421 "), f"a stranger's name gets {answer[:100]!r}")
    check(pair.source.name.encode() not in answer and b"sessions" not in answer, "it tells something")
    for host in (b"localhost:1", b"[::1]:9090", b"192.0.2.1"):
        answer = exchange_raw(endpoint(pair.source), stranger.replace(b"attacker.example", host))
        check(answer.startswith(b"HTTP/1.1 200 "), f"{host!r} gets {answer[:100]!r}")
    port = stage.suite.ports.take()
    anywhere = {"metrics": {"metrics_bind_ip": "0.0.0.0", "metrics_port": port}}
    table = stage.pair("anywhere", dest=anywhere).dest_table
    with start("dest", "anywhere", stage.suite.folder, table) as dest:
        answer = exchange_raw(endpoint(dest), stranger)
        check(answer.startswith(b"HTTP/1.1 200 "), f"on 0.0.0.0 it gets {answer[:100]!r}")


def slow_clients_are_cut(stage: Stage, pair: Pair) -> str:
    """A byte a second keeps no connection beyond its deadline, and nobody else from being served."""
    port = endpoint(pair.dest)
    with socket.create_connection(("127.0.0.1", port), timeout=30 * PATIENCE) as slow:
        started = time.monotonic()
        slow.settimeout(1)
        for byte in b"GET /metrics HTTP/1.1\r\nX-Very-Slow-Header: ........":
            try:
                slow.sendall(bytes([byte]))
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                check_equal(get(port, "/health")[0], 200, "/health meanwhile")
            except OSError:
                break
        seconds = time.monotonic() - started
    check(5 < seconds < 20 * PATIENCE, f"the slow client was cut after {seconds:.1f} s")
    return f"cut after {seconds:.1f} s"


def floods_are_bounded(stage: Stage, pair: Pair) -> str:
    """Hundreds of connections that say nothing: a health check comes through, memory and
    descriptors stay bounded, and streams notice nothing."""
    port = endpoint(pair.dest)
    before = Metrics(port)
    slowest = 0.0
    with ExitStack() as stack:
        talk = stack.enter_context(Conversation(stage.service.port))
        for i in range(300):
            idle = socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE)
            stack.enter_context(idle)
            if i % 3 == 0:
                idle.sendall(b"GET /metrics HTTP/1.1\r\n")
            if i % 50 == 49:
                started = time.monotonic()
                check_equal(get(port, "/health")[0], 200, "/health in a flood")
                talk.say(os.urandom(100_000))
                slowest = max(slowest, time.monotonic() - started)
        after = Metrics(port)
        talk.finish()
    more = after.value("process_open_fds") - before.value("process_open_fds")
    check(more < 60, f"{more} more descriptors for 300 connections")
    grown = after.value("process_resident_memory_bytes") - before.value(
        "process_resident_memory_bytes"
    )
    if not SANITIZED:
        check(grown < 8_000_000, f"{grown} bytes more")
    check(slowest < 5 * PATIENCE, f"a health check took {slowest:.1f} s")
    return f"{more:.0f} descriptors more, slowest check {slowest * 1000:.0f} ms"


def readers_that_stall_are_cut(stage: Stage, pair: Pair) -> None:
    """Scrapers that never read their answers cost bounded memory and end with their deadline."""
    port = endpoint(pair.dest)
    with ExitStack() as stack:
        for _ in range(30):
            sock = socket.socket()
            stack.enter_context(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        check_equal(get(port, "/health")[0], 200, "/health meanwhile")


# -- the configuration


def port_in_use(stage: Stage) -> str:
    """It is said at the start, before anything else runs, with what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pair = stage.pair("in-use")
        dest = start(
            "dest", "in-use", stage.suite.folder, pair.dest_table, "--metrics-port", str(port)
        )
        check_equal(dest.wait(10), 1, "exit status")
        detail = dest.events("start.failed")[0]["detail"]
    for word in (str(port), "metrics_port", "in use"):
        check(word in detail, f"{word!r} is not in {detail!r}")
    check(not dest.events("dest.ready"), "it was ready first")
    return detail


def it_can_be_off(stage: Stage) -> None:
    off = {"metrics": {"enabled": False}}
    with stage.pair("off", source=off, dest=off) as pair:
        check(not pair.source.events("admin.listening"), "it listens")


def option_and_config_name_the_port(stage: Stage) -> None:
    """--metrics-port counts for more than the file, from which utun health knows where to ask."""
    port = stage.suite.ports.take()
    pair = stage.pair("named", dest={"metrics": {"metrics_port": port}})
    path = stage.suite.folder / "named.toml"
    with start("dest", "named", stage.suite.folder, pair.dest_table) as dest:
        check_equal(endpoint(dest), port, "the port of the file")
        out = run([binary(), "health", "--config", path], seconds=30).stdout
        check_equal(out, "connecting: no source is connected\n", "utun health")
    with start(
        "dest", "named-otherwise", stage.suite.folder, pair.dest_table, "--metrics-port", "0"
    ) as dest:
        check(endpoint(dest) != port, "--metrics-port does not count")


def only_metrics_of_the_file_matter(stage: Stage) -> None:
    """A file of both roles with the certificate of one: the source runs, and can be asked by it."""
    port = stage.suite.ports.take()
    pair = stage.pair("both", source={"metrics": {"metrics_port": port}})
    table = {**pair.source_table, "dest": {"tunnel_port": stage.suite.ports.take()}}
    path = stage.suite.folder / "both.toml"
    with start("source", "both", stage.suite.folder, table) as source:
        check_equal(endpoint(source), port, "the port of the file")
        check_equal(run([binary(), "check", "--config", path], status=None).returncode, 2, "check")
        for words in (("health", "--alive"), ("status",)):
            run([binary(), *words, "--config", path], seconds=30)
    for word in ("status", "health"):
        said = run([binary(), word, "--config", path], status=1).stderr
        for wanted in (str(port), "refused", "metrics_port", "--endpoint"):
            check(wanted in said, f"{wanted!r} is not in {said!r}")
    path.write_text(path.read_text().replace("metrics_port", "metrics_prot"))
    said = run([binary(), "health", "--config", path], status=2)
    check("metrics_prot" in said.stderr, said.stderr)


def shutting_down_is_not_ready(stage: Stage) -> None:
    """While streams finish, /ready says no, and the endpoint still answers."""
    with stage.pair("leaving") as pair:
        port = endpoint(pair.source)
        with Conversation(stage.service.port) as talk:
            talk.say(b"still here")
            wait_until(lambda: get(port, "/ready")[0] == 200, 5, "the source to be ready")
            pair.source.send_signal(15)
            wait_until(lambda: get(port, "/ready")[0] == 503, 5, "it not to be ready")
            check_equal(health(port)["message"], "shutting down", "message")
            talk.say(os.urandom(1_000_000))
            talk.finish()


def goodbye_of_the_dest_is_not_ready(stage: Stage) -> str:
    """Old streams go on, new clients wait: not ready, and nothing that is to be restarted."""
    with stage.pair("goodbye", source=HASTY) as pair:
        port = endpoint(pair.source)
        wait_until(lambda: get(port, "/ready")[0] == 200, 5, "the source to be ready")
        with Conversation(stage.service.port) as talk, Conversation(stage.service.port) as late:
            talk.say(b"before")
            pair.dest.send_signal(15)
            wait_until(lambda: get(port, "/ready")[0] == 503, 5, "the source not to be ready")
            wait_until(lambda: "new clients wait" in health(port)["message"], 5, "it to say why")
            check_equal(health(port)["state"], "degraded", "state")
            check_equal(utun_health(port, "--ready"), 1, "utun health --ready")
            check_equal(utun_health(port, "--alive"), 0, "utun health --alive")
            check_equal(utun_health(port), 0, "utun health")
            url = f"http://127.0.0.1:{port}"
            check("leaving" in run([binary(), "status", "--endpoint", url]).stdout, "not leaving")
            talk.say(os.urandom(100_000))  # it is still there for the old stream
            talk.finish()
            late.finish()
        check_equal(pair.dest.wait(10 * PATIENCE), 0, "exit status of the dest")
        wait_until(lambda: health(port)["state"] == "unhealthy", 10, "it to be unhealthy")
        check_equal(utun_health(port, "--alive"), 0, "utun health --alive without a dest")
        pair.dest = start("dest", "goodbye-again", stage.suite.folder, pair.dest_table)
        started = time.monotonic()
        wait_until(lambda: get(port, "/ready")[0] == 200, 10, "the source to be ready again")
        check_equal(health(port)["state"], "healthy", "state")
        return f"ready {(time.monotonic() - started) * 1000:.0f} ms after the dest was started"


def main() -> int:
    with Suite("the admin endpoint") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            stage = Stage(suite, authority, echo)
            with stage.pair("shared") as pair:
                for process in (pair.source, pair.dest):
                    port = endpoint(process)
                    wait_until(lambda: get(port, "/ready")[0] == 200, 5, f"{process.name} be ready")
                for what, case in (
                    ("known traffic is counted to the byte", counts_every_byte),
                    ("datagrams are counted, too", counts_every_datagram),
                    ("promtool takes the metrics of both roles", promtool_agrees),
                    ("what is served is declared", every_metric_is_declared),
                    ("sessions name their certificates", sessions_name_their_certificates),
                    ("utun status prints table and JSON", status_on_a_terminal),
                    ("utun status --watch in tmux", status_live_in_tmux),
                    ("utun status fits the terminal", status_fits_the_terminal),
                    ("the page in a browser", page_in_a_browser),
                    ("the page's policy", page_policy),
                    ("other requests are refused", refuses_what_it_does_not_serve),
                    ("on loopback other names are refused", other_names_are_refused_on_loopback),
                    ("slow clients are cut", slow_clients_are_cut),
                    ("floods are bounded", floods_are_bounded),
                    ("readers that stall are bounded", readers_that_stall_are_cut),
                ):
                    suite.run(what, case, stage, pair)
            for what, alone in (
                ("refusals are counted", counts_refusals),
                ("sessions that come and go are counted", counts_what_happens_to_sessions),
                ("health follows the dest", health_follows_the_dest),
                ("utun health without anybody", health_without_anybody),
                ("a port in use is an error at start", port_in_use),
                ("the endpoint can be off", it_can_be_off),
                ("--metrics-port and the configuration", option_and_config_name_the_port),
                ("who asks needs no more of the file", only_metrics_of_the_file_matter),
                ("who shuts down is not ready", shutting_down_is_not_ready),
                ("nor is whose dest does", goodbye_of_the_dest_is_not_ready),
            ):
                suite.run(what, alone, stage)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
