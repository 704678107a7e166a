#!/usr/bin/env python3
"""Nothing secret in what source and dest say of themselves: logs at their most talkative, errors,
status, metrics, command lines."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import sys
from pathlib import Path

from harness import memcheck
from harness.echo import Echo, exchange
from harness.keys import secrets_of
from harness.memory import found_in
from harness.process import PATIENCE, Process, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service, binary, dest_config, merge, toml

PASSWORDS = ("correct-horse-battery", "wrong-horse-battery")
KEPT = "password-that-nobody-uses"

# Without root's rights nobody looks into a process that has closed itself.
OPEN = {} if os.geteuid() == 0 else {"security": {"sandbox": False}}
EVERY_SECOND = {"connection_refresh_interval_secs": 1}
ROTATING = {"key_rotation_interval_seconds": 4, "rehandshake_before_expiry_seconds": 3}


def forms(name: str, secret: bytes) -> dict[str, bytes]:
    """As bytes, in hexadecimal of either case, and in base64, as a log might print it."""
    coded = base64.b64encode(secret).rstrip(b"=")
    return {
        name: secret,
        f"{name} in hex": secret.hex().encode(),
        f"{name} in HEX": secret.hex().upper().encode(),
        f"{name} in base64": coded[:-2] if len(coded) > 16 else coded,
    }


def needles(keys: list[Path]) -> dict[str, bytes]:
    found = {}
    for path in keys:
        for name, secret in secrets_of(path).items():
            found |= forms(f"{path.name}: {name}", secret)
    for password in PASSWORDS:
        found |= forms(password, password.encode())
    return found


def check_silent(where: str, text: bytes, secrets: dict[str, bytes]) -> None:
    check(text, f"{where} is empty")
    told = [name for name, secret in secrets.items() if secret in text]
    check_equal(told, [], f"secrets in {where}")


def log_in(port: int, password: str, target: int) -> int:
    """A SOCKS5 login with name and password; the server's word on it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE) as sock:
        sock.sendall(b"\x05\x01\x02")
        check_equal(sock.recv(2), b"\x05\x02", "chosen method")
        name = b"alice"
        login = bytes([1, len(name)]) + name + bytes([len(password)]) + password.encode()
        sock.sendall(login)
        answer = sock.recv(2)
        if answer[1:] == b"\0":
            request = b"\x05\x01\x00\x01\x7f\0\0\x01" + target.to_bytes(2, "big")
            sock.sendall(request)
            check_equal(sock.recv(2), b"\x05\0", "answer to the request")
        return answer[1]


def http_login(port: int, password: str) -> None:
    word = base64.b64encode(f"alice:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * PATIENCE)
    connection.request("CONNECT", "echo:1", headers={"Proxy-Authorization": f"Basic {word}"})
    connection.getresponse().read()
    connection.close()


def ask(process: Process, path: str) -> bytes:
    port = process.wait_event("admin.listening")["port"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * PATIENCE)
    connection.request("GET", path)
    return connection.getresponse().read()


def entry_point(users: Path, lines: str, mode: str, port: int) -> dict:
    """[source] of one at which these users may log in, and name hosts on loopback."""
    users.write_text(lines)
    users.chmod(0o600)
    allowed = {"allowed_ips": ["127.0.0.1"]}
    point = {"mode": mode, "listen_port": port, "proxy_users_path": users}
    return {**point, "allowed_outbound": allowed}


def running(suite: Suite, authority: Authority, echo: Echo) -> str:
    """Logins, refreshes, key rotations, a certificate renewed, all at level debug."""
    ports = suite.ports
    entry = ports.take()
    login = entry_point(suite.folder / "users", f"alice:{PASSWORDS[0]}\n", "hybrid", entry)
    service = Service(ports.take(), echo.port)
    changes = {
        "logging": {"level": "debug"},
        "metrics": {"enabled": True, "metrics_port": 0},
        "crypto": ROTATING,
    }
    pair = Pair(
        suite.folder,
        ports,
        [service],
        authority,
        name="debug",
        source_changes=merge(changes, {"source": {**EVERY_SECOND, **login}}),
        dest_changes=merge(
            changes,
            {"dest": {"handshake_rate_limit": 0, "allowed_targets": {"allowed_ips": ["127.0.0.1"]}}},
        ),
    )
    secrets = needles([authority.server().key, authority.client().key])
    with pair:
        assert pair.source and pair.dest
        exchange(service.port, 100_000)
        check_equal(log_in(entry, PASSWORDS[0], echo.port), 0, "the right password")
        check(log_in(entry, PASSWORDS[1], echo.port) != 0, "the wrong password was let in")
        for password in PASSWORDS:
            http_login(entry, password)
        pair.source.wait_event("session.up", count=4, seconds=20)
        for process in (pair.source, pair.dest):
            for path in ("/status", "/metrics", "/health"):
                check_silent(f"{path} of {process.name}", ask(process, path), secrets)
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            check_silent(f"the command line of {process.name}", line, secrets)
    lines = 0
    for process in (pair.source, pair.dest):
        text = process.err_path.read_bytes()
        check_silent(f"the log of {process.name}", text, secrets)
        lines += text.count(b"\n")
    return f"{lines} lines, {len(secrets)} forms of secrets"


def passwords_are_gone(suite: Suite, authority: Authority, echo: Echo) -> str:
    """A source does not keep what clients log in with, nor what they try."""
    ports = suite.ports
    entry = ports.take()
    known = f"alice:{PASSWORDS[0]}\nbob:{KEPT}\n"
    login = entry_point(suite.folder / "some-users", known, "protocol", entry)
    secrets = {}
    for password in (*PASSWORDS, KEPT):
        secrets |= forms(password, password.encode())
        secrets[f"{password} for HTTP"] = base64.b64encode(f"alice:{password}".encode())
    with Pair(
        suite.folder,
        ports,
        [],
        authority,
        name="passwords",
        source_changes=merge(OPEN, {"source": login}),
        dest_changes={"dest": {"allowed_targets": {"allowed_ips": ["127.0.0.1"]}}},
    ) as pair:
        assert pair.source
        for password, is_right in zip(PASSWORDS, (True, False), strict=True):
            check_equal(log_in(entry, password, echo.port) == 0, is_right, f"whether {password} is")
            http_login(entry, password)
            wait_until(
                lambda: not found_in(pair.source.pid, secrets), 5, "passwords to be forgotten"
            )
    return f"{len(secrets)} forms of passwords"


def broken_files(suite: Suite, authority: Authority) -> None:
    """Errors about key and password files name the file, not what is in it."""
    good = authority.server()
    secrets = needles([good.key])
    text = good.key.read_text().splitlines()
    broken = {
        "cut": "\n".join(text[: len(text) // 2]),
        "damaged": "\n".join([text[0], text[1][:-3] + "!!!", *text[2:]]),
        "labelled": "\n".join(["-----BEGIN SECRET-----", *text[1:-1], "-----END SECRET-----"]),
        "encrypted": "\n".join(
            ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *text[1:-1], "-----END ENCRYPTED PRIVATE KEY-----"]
        ),
    }
    for name, content in broken.items():
        key = suite.folder / f"{name}.key"
        key.write_text(content)
        key.chmod(0o600)
        table = dest_config(suite.ports.take(), [], authority, {"auth": {"server_key_path": key}})
        config = suite.folder / f"{name}.toml"
        config.write_text(toml(table))
        for command in ("dest", "check"):
            done = run([binary(), command, "--config", config], status=None, seconds=20)
            check(done.returncode != 0, f"{command} has taken a key that is {name}")
            check(f"{name}.key" in done.stdout + done.stderr, f"{command} does not name {name}.key")
            check_silent(f"{command} with {name}", (done.stdout + done.stderr).encode(), secrets)


def loose_permissions(suite: Suite, authority: Authority) -> None:
    """A key or password file that others can read is refused, unless told otherwise."""
    key = suite.folder / "loose.key"
    key.write_bytes(authority.server().key.read_bytes())
    for mode, is_taken in ((0o640, False), (0o604, False), (0o620, False), (0o600, True)):
        key.chmod(mode)
        table = dest_config(suite.ports.take(), [], authority, {"auth": {"server_key_path": key}})
        config = suite.folder / "loose.toml"
        config.write_text(toml(table))
        done = run([binary(), "check", "--config", config], status=None)
        check_equal(done.returncode == 0, is_taken, f"whether mode {mode:o} is taken")
        if not is_taken:
            check("chmod 600" in done.stdout + done.stderr, "it does not say what to do")
    key.chmod(0o644)
    table["auth"]["allow_insecure_key_files"] = True
    config.write_text(toml(table))
    done = run([binary(), "check", "--config", config])
    check("others may read the private keys" in done.stdout + done.stderr, "there is no warning")


def main() -> int:
    with Suite("secrets") as suite, Echo(suite.folder, suite.ports) as echo:
        authority = Authority(suite.folder)
        suite.run("a source and a dest that tell all", running, suite, authority, echo)
        if not memcheck.ON:  # which keeps what the program forgets
            suite.run("passwords", passwords_are_gone, suite, authority, echo)
        suite.run("files that are broken", broken_files, suite, authority)
        suite.run("files that others can read", loose_permissions, suite, authority)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
