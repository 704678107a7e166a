#!/usr/bin/env python3
"""Who is not let in, and why: each stranger meets an error of its own in the log, and nothing else.

After every group the dest still serves the source it served before, runs, and has no more
descriptors open than it had.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import strangers
from harness.echo import Conversation, Echo, exchange
from harness.process import Process, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Identity, Pair, Service, source_config, start
from strangers import (
    ABORT,
    ANSWER,
    KEM_KEY,
    KEM_KEY_SIZE,
    OFFER,
    FalseDest,
    connect,
    context,
    kem_key,
    message,
    offer,
    read_to_end,
    server_context,
    shake_hands,
    tls_server,
)

ALGORITHM = "ECDSA-P256"  # what Python's TLS knows, too
MODE = "mceliece460896"
MODE_TABLE = {"crypto": {"kem_mode": MODE}}
TIMEOUT = 30.0
FAILURES = ("handshake.refused", "handshake.failed")


def day(ahead: int) -> str:
    return str(datetime.date.today() + datetime.timedelta(days=ahead))


@dataclass
class Pki:
    """What strangers show: identities of our CA that are wrong for the purpose, and of another CA."""

    ours: Authority
    theirs: Authority
    expired: dict[str, Identity] = field(default_factory=dict)
    early: dict[str, Identity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        past = ("--not-before", "2020-01-01", "--not-after", "2020-02-01")
        future = ("--not-before", day(10), "--not-after", day(20))
        address = ("--ip-addresses", "127.0.0.1")
        for role, names in {"server": address, "client": ()}.items():
            self.expired[role] = self.ours.issue(role, f"expired-{role}", *names, *past)
            self.early[role] = self.ours.issue(role, f"early-{role}", *names, *future)
        self.elsewhere = self.ours.issue("server", "elsewhere", "--dns-names", "other.example")


class Fortress:
    """A dest under attack, and a good source whose stream stays open the whole time."""

    def __init__(self, suite: Suite, pki: Pki, echo: Echo, name: str) -> None:
        self.service = Service(suite.ports.take(), echo.port)
        # As many handshakes as leave a stranger to meet the limit of its rate first.
        room = {"dest": {"max_handshakes": 256}}
        self.pair = Pair(
            suite.folder,
            suite.ports,
            [self.service],
            pki.ours,
            kem_mode=MODE,
            name=name,
            dest_changes=room,
        )
        self.port = self.pair.tunnel_port

    def __enter__(self) -> Fortress:
        self.pair.__enter__()
        assert self.pair.dest
        self.dest = self.pair.dest
        self.talk = Conversation(self.service.port)
        self.talk.say(b"before")
        self.descriptors = self.dest.fd_count()
        return self

    def failures(self) -> list[dict]:
        return [event for event in self.dest.events() if event.get("event") in FAILURES]

    def meets(self, errors: tuple[str, ...], attack: Callable[[int], object], *words: str) -> str:
        """The attack leads to exactly one failure, with one of these errors and all the words."""
        before = len(self.failures())
        attack(self.port)
        wait_until(lambda: len(self.failures()) > before, 10, "the dest to log a failure")
        failure = self.failures()[before]
        check(failure["error"] in errors, f"{failure} instead of {' or '.join(errors)}")
        check(failure.get("detail"), f"no explanation: {failure}")
        check(failure.get("peer") or failure.get("address"), f"no address: {failure}")
        for word in words:
            check(word in failure["detail"], f"{word!r} is not in the explanation: {failure}")
        check_equal(len(self.failures()), before + 1, "failures logged")
        return f"{failure['error']}: {failure['detail']}"

    def holds(self) -> None:
        """All that was attacked is as it was."""
        self.talk.say(os.urandom(1_000_000))
        exchange(self.service.port, 100_000)
        check(self.dest.is_running(), "the dest ended")
        few = self.descriptors
        wait_until(lambda: self.dest.fd_count() <= few, 10, "the dest to close descriptors")

    def __exit__(self, kind: type | None, *rest: object) -> None:
        self.talk.sock.close()
        self.pair.__exit__(kind)


# ------------------------------------------------------------------------------------------------
# Strangers at a dest


def tls_attack(pki: Pki, identity: Identity | None, alpn: str | None = "utun/1") -> Callable:
    """A TLS handshake with this certificate, to its end."""

    def attack(port: int) -> None:
        try:
            sock = shake_hands(port, context(pki.ours.ca.cert, identity, alpn))
        except OSError:
            return  # already refused inside the handshake
        read_to_end(sock)
        sock.close()

    return attack


def message_attack(pki: Pki, *messages: bytes) -> Callable:
    """A good certificate, and then these bytes inside TLS."""

    def attack(port: int) -> None:
        sock = shake_hands(port, context(pki.ours.ca.cert, pki.ours.client()))
        try:
            for data in messages:
                sock.sendall(data)
        except OSError:
            pass  # refused before all was sent
        read_to_end(sock)
        sock.close()

    return attack


def raw_attack(data: bytes, close: bool = False) -> Callable:
    """These bytes instead of TLS."""

    def attack(port: int) -> None:
        sock = connect(port)
        sock.sendall(data)
        if not close:
            read_to_end(sock)
        sock.close()

    return attack


def tls12_attack(port: int) -> None:
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-alpn", "utun/1"]
    said = run(argv, status=None)
    check(said.returncode != 0, "openssl's TLS 1.2 handshake was taken")


def certificates_at_dest(suite: Suite, pki: Pki, echo: Echo) -> None:
    attacks = {
        "another CA's certificate": (pki.theirs.client(), "cert_untrusted"),
        "a server's certificate": (pki.ours.server(), "cert_purpose"),
        "an expired certificate": (pki.expired["client"], "cert_expired"),
        "a certificate not yet valid": (pki.early["client"], "cert_not_yet_valid"),
        "no certificate": (None, "cert_missing"),
    }
    with Fortress(suite, pki, echo, "certs") as fortress:
        for name, (identity, error) in attacks.items():
            attack = tls_attack(pki, identity)
            suite.run(f"at the dest: {name}", fortress.meets, (error,), attack)
        suite.run("the dest serves on", fortress.holds)


def tls_at_dest(suite: Suite, pki: Pki, echo: Echo) -> None:
    good = pki.ours.client()
    hello = client_hello(pki)
    broken = hello[:60] + bytes(b ^ 0xFF for b in hello[60:])
    with Fortress(suite, pki, echo, "tls") as fortress:
        attacks: dict[str, tuple[tuple[str, ...], Callable]] = {
            "TLS 1.2": (("tls_version",), tls12_attack),
            "no ALPN": (("alpn",), tls_attack(pki, good, None)),
            "another ALPN": (("alpn",), tls_attack(pki, good, "h2")),
            "random bytes": (("tls",), raw_attack(os.urandom(4096))),
            "an HTTP request": (("tls",), raw_attack(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
            "a damaged ClientHello": (("tls",), raw_attack(broken)),
            "half a ClientHello, then FIN": (("closed", "reset"), raw_attack(hello[:100], True)),
        }
        for name, (errors, attack) in attacks.items():
            suite.run(f"at the dest: {name}", fortress.meets, errors, attack)
        suite.run("the dest serves on", fortress.holds)


def messages_at_dest(suite: Suite, pki: Pki, echo: Echo) -> None:
    good_offer = offer()
    huge = bytes([OFFER]) + b"\xff\xff\xff"
    malformed, unexpected, large = ("malformed",), ("unexpected", "malformed"), ("too_large",)
    groups: list[dict[str, tuple[tuple[str, ...], tuple[bytes, ...]]]] = [
        {
            "a McEliece key one byte short": (
                malformed,
                (good_offer, kem_key(KEM_KEY_SIZE - 1)),
            ),
            "a McEliece key one byte long": (
                ("malformed", "too_large"),
                (good_offer, kem_key(KEM_KEY_SIZE + 1)),
            ),
            "an OFFER of 16 MiB": (large, (huge,)),
            "an OFFER one byte short": (malformed, (message(OFFER, offer()[4:-1]),)),
            "unknown flags": (malformed, (offer(flags=0x80),)),
            "an unknown message": (unexpected, (message(99, b"what?"),)),
            "a McEliece key before the OFFER": (unexpected, (kem_key(),)),
        },
        {
            "an ANSWER from the source": (unexpected, (message(ANSWER, bytes(54)),)),
            "two OFFERs": (unexpected, (good_offer, good_offer)),
            "another version": (("version",), (offer(version=9),)),
            "another kem_mode": (("kem_mode",), (offer(mode=strangers.MODE_HYBRID),)),
            "an ABORT": (
                ("internal", "tls", "limit", "refused", "unexpected", "closed", "shutdown"),
                (message(ABORT, b"\x00\x01\x03" + bytes(4) + b"\x00\x02no"),),
            ),
        },
    ]
    for number, attacks in enumerate(groups):
        with Fortress(suite, pki, echo, f"messages-{number}") as fortress:
            for name, (errors, messages) in attacks.items():
                attack = message_attack(pki, *messages)
                suite.run(f"at the dest: {name}", fortress.meets, errors, attack)
            suite.run("the dest serves on", fortress.holds)


def client_hello(pki: Pki) -> bytes:
    """The first flight of an honest client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(pki.ours.ca.cert, pki.ours.client()).wrap_bio(
        incoming, outgoing, server_hostname="127.0.0.1"
    )
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


# -- peers that stop


def stalls_at_dest(fortress: Fortress, pki: Pki) -> int:
    """Peers that stop at every point of the handshake; how many."""
    hello = client_hello(pki)
    tls = context(pki.ours.ca.cert, pki.ours.client())
    stopped = [connect(fortress.port)]
    for size in (1, len(hello) - 1, len(hello)):
        stopped.append(connect(fortress.port))
        stopped[-1].sendall(hello[:size])
    for said in (
        b"",
        offer()[:3],
        offer()[:-1],
        offer(),
        offer() + kem_key()[:5],
        offer() + kem_key()[:-1],
    ):
        sock = shake_hands(fortress.port, tls)
        sock.sendall(said)
        stopped.append(sock)
    strangers.kept.extend(stopped)
    return len(stopped)


def wrong_keys(fortress: Fortress, pki: Pki) -> str:
    """Whoever finishes the handshake but not with our keys never gets a frame in."""
    sock = strangers.finish_handshake(fortress.port, context(pki.ours.ca.cert, pki.ours.client()))
    address = "{}:{}".format(*sock.getsockname())
    sock.sendall(b"\x75\x00\x00\x00\x40" + os.urandom(64))
    down = fortress.dest.wait_event("session.down", address=address)
    check_equal(down["reason"], "key_confirm", "the reason")
    check(not fortress.dest.events("session.up", address=address), "the session came up")
    sock.close()
    return f"{down['reason']}: {down['detail']}"


def silent_under_keys(fortress: Fortress, address: str) -> None:
    down = fortress.dest.wait_event("session.down", seconds=TIMEOUT + 15, address=address)
    check_equal(down["reason"], "timeout", "the reason")


def stalls_time_out(fortress: Fortress, started: float, stalled: int) -> str:
    def timeouts() -> list[dict]:
        return [f for f in fortress.failures() if f["error"] == "timeout"]

    wait_until(lambda: len(timeouts()) >= stalled, started + TIMEOUT + 15 - time.monotonic(), "all")
    seconds = time.monotonic() - started
    check(seconds >= TIMEOUT - 2, f"the last was cut after {seconds:.0f} s already")
    return f"{stalled} peers cut after {seconds:.0f} s"


# ------------------------------------------------------------------------------------------------
# False dests at a source


def source_at(suite: Suite, pki: Pki, port: int, name: str, changes: dict | None = None) -> Process:
    config = source_config(port, [suite.ports.take()], pki.ours, MODE_TABLE)
    config["source"].update(changes or {})
    return start("source", name, suite.folder, config)


def source_refuses(
    suite: Suite, pki: Pki, name: str, errors: tuple[str, ...], behave: Callable, changes: dict
) -> str:
    slug = "source-" + "".join(c if c.isalnum() else "-" for c in name)
    with FalseDest(behave) as dest, source_at(suite, pki, dest.port, slug, changes) as source:
        failure = source.wait_event("handshake.failed")
        check(failure["error"] in errors, f"{failure} instead of {' or '.join(errors)}")
        check(failure.get("detail"), f"no explanation: {failure}")
        check(not source.events("session.up"), "a session came up")
        check(source.is_running(), "the source ended")
        check_equal(source.stop(), 0, "exit status")
    return f"{failure['error']}: {failure['detail']}"


def false_dests(suite: Suite, pki: Pki) -> None:
    ca = pki.ours.ca.cert
    good = server_context(ca, pki.ours.server())

    def says(data: bytes) -> Callable:
        def behave(sock: socket.socket) -> None:
            sock.sendall(data)
            read_to_end(sock)
            sock.close()

        return behave

    def shows(identity: Identity) -> Callable:
        return tls_server(server_context(ca, identity))

    aborts = message(ABORT, b"\x00\x0a\x03" + bytes(4) + b"\x00\x08too busy")
    named = {"dest_host": "localhost"}
    behaviours: dict[str, tuple[tuple[str, ...], Callable, dict]] = {
        "another CA's certificate": (("cert_untrusted",), shows(pki.theirs.server()), {}),
        "a client's certificate": (("cert_purpose",), shows(pki.ours.client()), {}),
        "an expired certificate": (("cert_expired",), shows(pki.expired["server"]), {}),
        "a certificate not yet valid": (("cert_not_yet_valid",), shows(pki.early["server"]), {}),
        "another host's certificate": (("cert_name",), shows(pki.elsewhere), named),
        "a certificate without the address": (("cert_name",), shows(pki.elsewhere), {}),
        "random bytes": (("tls",), says(os.urandom(4096)), {}),
        "a dest that closes at once": (("closed", "reset"), lambda sock: sock.close(), {}),
        "no ALPN": (("alpn",), tls_server(server_context(ca, pki.ours.server(), None)), {}),
        "an ABORT with a reason": (("limit",), tls_server(good, aborts), {}),
        "an ANSWER that is too short": (
            ("malformed",),
            tls_server(good, message(ANSWER, b"x")),
            {},
        ),
        "an ANSWER that is too long": (
            ("too_large", "malformed"),
            tls_server(good, bytes([ANSWER]) + b"\xff\xff\xff"),
            {},
        ),
        "a key instead of an ANSWER": (
            ("unexpected", "malformed"),
            tls_server(good, bytes([KEM_KEY, 0, 0, 1, 0])),
            {},
        ),
    }
    for name, (errors, behave, changes) in behaviours.items():
        suite.run(
            f"at the source: {name}", source_refuses, suite, pki, name, errors, behave, changes
        )


def silent_dests(suite: Suite, pki: Pki) -> list[tuple[Process, FalseDest]]:
    """Dests that take the connection, or finish TLS, and then say nothing."""
    good = server_context(pki.ours.ca.cert, pki.ours.server())
    silent = []
    for name, behave in {
        "silent": lambda sock: None,
        "tls-only": tls_server(good, close=False),
        "half-answer": tls_server(good, bytes([ANSWER, 0, 1, 0, 0]), close=False),
    }.items():
        dest = FalseDest(behave)
        silent.append((source_at(suite, pki, dest.port, f"source-{name}"), dest))
    return silent


def silent_dests_time_out(silent: list[tuple[Process, FalseDest]]) -> None:
    for source, dest in silent:
        failure = source.wait_event("handshake.failed", seconds=TIMEOUT + 15)
        check_equal(failure["error"], "timeout", f"{source.name}'s error")
        check_equal(source.stop(), 0, f"exit status of {source.name}")
        dest.__exit__()


# ------------------------------------------------------------------------------------------------
# utun itself, wrongly set up


def utun_of_other_ca(suite: Suite, pki: Pki, fortress: Fortress) -> str:
    """A source of another CA that trusts ours: both ends say what is wrong, each from its side."""
    stranger = pki.theirs.client()
    changes = {"client_cert_path": stranger.cert, "client_key_path": stranger.key}
    config = source_config(fortress.port, [suite.ports.take()], pki.ours, MODE_TABLE)
    config["auth"].update(changes)
    config["source"]["listen_ip"] = "127.0.0.9"
    with start("source", "stranger", suite.folder, config) as source:
        failure = source.wait_event("handshake.failed")
        check_equal(failure["error"], "cert_refused", "the source's error")
        check(not source.events("session.up"), "a session came up")
    check_equal(fortress.failures()[-1]["error"], "cert_untrusted", "the dest's error")
    return failure["detail"]


def wrong_key(suite: Suite, pki: Pki) -> None:
    """A certificate without its key does not even start."""
    config = source_config(suite.ports.take(), [suite.ports.take()], pki.ours, MODE_TABLE)
    config["auth"]["client_key_path"] = pki.theirs.client().key
    with start("source", "wrong-key", suite.folder, config) as source:
        check_equal(source.wait(5), 2, "exit status")
        check("does not belong to" in source.text(), f"not explained: {source.text()}")


def rate_is_limited(fortress: Fortress) -> str:
    """From one address only so many handshakes begin; others are not held up."""
    before = len(fortress.failures())
    ours = []
    for _ in range(30):
        # Who is refused is reset, perhaps before he has seen that he was connected.
        with contextlib.suppress(ConnectionResetError):
            sock = socket.create_connection(
                ("127.0.0.1", fortress.port), timeout=10, source_address=("127.7.7.7", 0)
            )
            ours.append(sock)
            sock.sendall(b"x")
    refused = wait_until(
        lambda: [f for f in fortress.failures()[before:] if f["error"] == "rate"], 5, "a refusal"
    )
    assert isinstance(refused, list)
    check("127.7.7.7" in str(refused[0]), f"the address is not named: {refused[0]}")
    exchange(fortress.service.port)
    for sock in ours:
        sock.close()
    return str(refused[0].get("detail", ""))


def main() -> int:
    with Suite("refusals") as suite:
        pki = Pki(
            Authority(suite.folder, "ours", ALGORITHM), Authority(suite.folder, "theirs", ALGORITHM)
        )
        with Echo(suite.folder, suite.ports) as echo:
            with Fortress(suite, pki, echo, "stalls") as stalled_fortress:
                started = time.monotonic()
                stalled = stalls_at_dest(stalled_fortress, pki)
                mute = strangers.finish_handshake(
                    stalled_fortress.port, context(pki.ours.ca.cert, pki.ours.client())
                )
                mute_address = "{}:{}".format(*mute.getsockname())
                silent = silent_dests(suite, pki)

                certificates_at_dest(suite, pki, echo)
                tls_at_dest(suite, pki, echo)
                messages_at_dest(suite, pki, echo)
                false_dests(suite, pki)
                suite.run("utun: a certificate without its key", wrong_key, suite, pki)
                with Fortress(suite, pki, echo, "utun") as fortress:
                    suite.run("utun: another CA", utun_of_other_ca, suite, pki, fortress)
                    suite.run("at the dest: other keys", wrong_keys, fortress, pki)
                    suite.run("the dest serves on", fortress.holds)
                    suite.run("one address, 30 handshakes", rate_is_limited, fortress)

                suite.run(
                    "at the dest: peers that stop anywhere",
                    *(stalls_time_out, stalled_fortress, started, stalled),
                )
                suite.run(
                    "at the dest: a peer that is silent under the new keys",
                    *(silent_under_keys, stalled_fortress, mute_address),
                )
                suite.run("the dest serves on", stalled_fortress.holds)
                suite.run("at the source: dests that stop", silent_dests_time_out, silent)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
