#!/usr/bin/env python3
"""Every kem_mode and every kind of certificate carries data; different modes refuse each other."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from harness.echo import Echo, exchange
from harness.process import run
from harness.suite import Suite, check, check_equal
from harness.utun import (
    KEM_MODES,
    Authority,
    Identity,
    Pair,
    Service,
    dest_config,
    ready,
    source_config,
    start,
)

GROUPS = {
    "hybrid": "X25519MLKEM768",
    "mlkem768": "X25519MLKEM768",
    "mceliece460896": "X25519",
}
ALGORITHMS = ("ML-DSA-44", "ML-DSA-87", "Ed25519", "ECDSA-P256", "ECDSA-P384")
SIZE = 4_000_000


def carries_data(suite: Suite, authority: Authority, echo: Echo, mode: str, name: str) -> str:
    service = Service(suite.ports.take(), echo.port)
    with Pair(suite.folder, suite.ports, [service], authority, kem_mode=mode, name=name) as pair:
        exchange(service.port, SIZE)
        assert pair.source and pair.dest
        up = pair.source.wait_event("session.up")
        for end in (up, pair.dest.wait_event("session.up")):
            check_equal(end.get("kem_mode"), mode, "kem_mode in the log")
            group = str(end.get("group"))
            check_equal(group.upper(), GROUPS[mode].upper(), "group in the log")
    return f"{up['group']}, {up['signature']}, {up['handshake_ms']} ms"


def refuses_other_mode(suite: Suite, authority: Authority, near: str, far: str) -> None:
    """Neither side gives in, and both say what each is set to."""
    name = f"{near}-{far}"
    port = suite.ports.take()
    dest_table = dest_config(port, [], authority, {"crypto": {"kem_mode": far}})
    exposed = suite.ports.take()
    source_table = source_config(port, [exposed], authority, {"crypto": {"kem_mode": near}})
    with ready(start("dest", f"{name}-dest", suite.folder, dest_table)) as dest:
        with start("source", f"{name}-source", suite.folder, source_table) as source:
            for process in (dest, source):
                failure = process.wait_event("handshake.failed", error="kem_mode")
                check(
                    near in failure["detail"] and far in failure["detail"],
                    f"{process.name} does not name both modes: {failure}",
                )
            check(not source.events("session.up"), "a session came up all the same")
            check(dest.is_running() and source.is_running(), "one of them gave up")


# -- a PKI that UTun has not made


def openssl_authority(folder: Path) -> Authority:
    """RSA keys (so RSA-PSS signatures), an intermediate CA, one file DER and one with a chain."""
    place = folder / "openssl"
    place.mkdir()

    def request(name: str, *options: object) -> list:
        key = place / f"{name}.key"
        subject = ["-subj", f"/O=Elsewhere/CN={name}", "-keyout", key, "-nodes"]
        argv = ["openssl", "req", "-newkey", "rsa:2048", *subject, *options]
        return argv

    def issue(name: str, issuer: str, *extensions: str) -> None:
        run(request(name, "-out", place / f"{name}.csr"))
        (place / f"{name}.ext").write_text("\n".join(extensions) + "\n")
        signer = ["-CA", place / f"{issuer}.pem", "-CAkey", place / f"{issuer}.key", "-days", "2"]
        argv = ["openssl", "x509", "-req", "-in", place / f"{name}.csr", *signer]
        serial = str(sum(name.encode()))
        options = ["-extfile", place / f"{name}.ext", "-set_serial", serial]
        run([*argv, *options, "-out", place / f"{name}.pem"])

    run(request("root", "-x509", "-days", "2", "-out", place / "root.pem"))
    issue("middle", "root", "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign")
    leaf = ("basicConstraints=CA:FALSE", "keyUsage=digitalSignature")
    issue("dest", "middle", *leaf, "extendedKeyUsage=serverAuth", "subjectAltName=IP:127.0.0.1")
    issue("source", "middle", *leaf, "extendedKeyUsage=clientAuth")

    for name in ("dest", "source"):
        (place / f"{name}.key").chmod(0o600)
        chain = (place / f"{name}.pem").read_text() + (place / "middle.pem").read_text()
        (place / f"{name}.chain").write_text(chain)
    der = ["-outform", "DER"]
    run(["openssl", "x509", "-in", place / "root.pem", *der, "-out", place / "root.der"])
    key = ["openssl", "pkey", "-in", place / "source.key", *der, "-out", place / "source.der"]
    run(key)
    (place / "source.der").chmod(0o600)

    authority = Authority.__new__(Authority)
    authority.ca = Identity(place / "root.der", place / "root.key")
    authority.issued = {
        "dest": Identity(place / "dest.chain", place / "dest.key"),
        "source": Identity(place / "source.chain", place / "source.der"),
    }
    return authority


def foreign_pki(suite: Suite, echo: Echo) -> str:
    authority = openssl_authority(suite.folder)
    return carries_data(suite, authority, echo, "hybrid", "foreign")


def main() -> int:
    with Suite("handshakes") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            for mode in KEM_MODES:
                suite.run(f"{mode} carries data", carries_data, suite, authority, echo, mode, mode)
            for algorithm in ALGORITHMS:
                other = Authority(suite.folder, f"ca-{algorithm}", algorithm)
                name = f"certificates of {algorithm}"
                suite.run(name, carries_data, suite, other, echo, "mlkem768", algorithm)
            suite.run("RSA certificates of another PKI, DER files", foreign_pki, suite, echo)
            for near, far in itertools.permutations(KEM_MODES, 2):
                name = f"{near} at the source, {far} at the dest: refused"
                suite.run(name, refuses_other_mode, suite, authority, near, far)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
