#!/usr/bin/env python3
"""Private keys are in a process of their own: not in the memory of the one that talks to others."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from harness import memcheck
from harness.echo import Echo, exchange
from harness.keys import secrets_of
from harness.memory import found_in
from harness.process import SANITIZED, Process, program, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import (
    Authority,
    Daemon,
    Identity,
    Pair,
    Service,
    binary,
    merge,
    ready,
    start,
    toml,
)

ALGORITHMS = ("ML-DSA-65", "ML-DSA-44", "ML-DSA-87", "Ed25519", "ECDSA-P256", "ECDSA-P384")
AS_ROOT = os.geteuid() == 0
CAP_DAC_READ_SEARCH = 1 << 2

REFUSED, TAKEN = "config.reload_failed", "config.reloaded"

# Without root's rights nobody looks into a process that has closed itself.
LOOK_INTO = {} if AS_ROOT else {"security": {"sandbox": False}}


class Stage:
    def __init__(self, suite: Suite, echo: Echo) -> None:
        self.suite = suite
        self.echo = echo

    def pair(self, name: str, authority: Authority, changes: dict | None = None) -> Pair:
        ports = self.suite.ports
        return Pair(
            self.suite.folder,
            ports,
            [Service(ports.take(), self.echo.port)],
            authority,
            name=name,
            source_changes=changes or {},
            dest_changes=changes or {},
        )


def signer_of(process: Process) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in children}
    check_equal(list(names), ["utun-signer"], f"children of {process.name}")
    return names["utun-signer"]


def kernel_view(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: text.strip() for key, _, text in (line.partition(":") for line in lines)}


# ------------------------------------------------------------------------------------------------
# Cases


def keys_are_apart(stage: Stage, authority: Authority, algorithm: str) -> str:
    with stage.pair(algorithm, authority, LOOK_INTO) as pair:
        exchange(pair.services[0].port, 100_000)
        where = []
        for process, identity in (
            (pair.dest, authority.server()),
            (pair.source, authority.client()),
        ):
            assert process
            secrets = secrets_of(identity.key)
            check_equal(found_in(process.pid, secrets), set(), f"of the key in {process.name}")
            kept = found_in(signer_of(process), secrets)
            check(kept, f"the signer of {process.name} does not have the key either")
            where.append(min(kept))
        ups = pair.source.events("session.up") if pair.source else []
        return f"{ups[0]['signature']}; the signers hold {', '.join(where)}"


def without_signer(stage: Stage, authority: Authority) -> str:
    """What the others would look like if they did not find anything because they cannot."""
    changes = merge(LOOK_INTO, {"security": {"signer": False, "user": "root"}})
    with stage.pair("without", authority, changes) as pair:
        exchange(pair.services[0].port, 100_000)
        assert pair.dest
        found = found_in(pair.dest.pid, secrets_of(authority.server().key))
        check(found, "the key is not in the only process that could have it")
        line = pair.dest.wait_event("sandbox.ready")
        check_equal(line["signer"], "off", "signer")
        return f"found: {', '.join(sorted(found))}"


def rsa(stage: Stage) -> str:
    """An RSA key of an existing PKI."""
    authority = Authority(stage.suite.folder, "rsa", algorithm="ecdsa-p256")
    folder = authority.folder
    for name, use, extra in (
        ("dest", "serverAuth", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"),
        ("source", "clientAuth", "subjectAltName=DNS:source"),
    ):
        made = Identity(folder / f"{name}.crt", folder / f"{name}.key")
        request = folder / f"{name}.csr"
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"extendedKeyUsage={use}\n{extra}\n")
        kind = ["-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        run(["openssl", "req", "-new", *kind, "-keyout", made.key, "-out", request])
        signer = ["-CA", authority.ca.cert, "-CAkey", authority.ca.key, "-CAcreateserial"]
        sign = ["openssl", "x509", "-req", "-in", request, *signer, "-days", "2"]
        run([*sign, "-extfile", extensions, "-out", made.cert])
        made.key.chmod(0o600)
        authority.issued[name] = made
    return keys_are_apart(stage, authority, "RSA")


def is_held(stage: Stage, authority: Authority) -> str:
    """It may do even less than the role."""
    with stage.pair("held", authority) as pair:
        assert pair.dest
        seen = kernel_view(signer_of(pair.dest))
        check_equal(seen["Seccomp"], "2", "Seccomp")
        check_equal(seen["NoNewPrivs"], "1", "NoNewPrivs")
        check_equal(seen["Threads"], "1", "Threads")
        check_equal(int(seen["CapEff"], 16), CAP_DAC_READ_SEARCH if AS_ROOT else 0, "CapEff")
        check_equal(seen["Uid"].split()[0], str(os.geteuid()), "Uid")
        if not SANITIZED:  # whose mlock does nothing
            check(int(seen["VmLck"].split()[0]) >= 1024, f"{seen['VmLck']} of memory are locked")
        return f"{seen['VmRSS']}"


def root_with_less(stage: Stage, authority: Authority) -> str:
    """As the packaged units start it: without rights to others' files, and with none left afterwards."""
    if not AS_ROOT:
        return "not started by root"
    folder = stage.suite.folder
    key = Path(shutil.copy(authority.server().key, folder / "less.key"))
    key.chmod(0o600)
    shutil.chown(key, "nobody")
    config = folder / "less.toml"
    config.write_text(toml(merge(stage.pair("less", authority).dest_table, {"auth": {"server_key_path": key}})))
    less = [program("setpriv"), "--bounding-set=-all,+net_bind_service,+setuid,+setgid"]
    argv = [*less, binary(), "dest", "--config", config, "--log-format", "json"]
    with Process("less-others", argv, folder) as dest:
        check_equal(dest.wait(20), 2, "exit status")  # after which a unit does not start it again
        said = dest.text()
    cure = re.search(r"user root, here without .* may not read it \(owner nobody:.*\); run: (chown root \S+)", said)
    check(cure, f"no cure in {said!r}")
    run(cure[1].split())
    with Daemon("less", argv, folder) as dest:
        dest.wait_event("dest.ready")
        for pid in (dest.pid, signer_of(dest)):
            seen = kernel_view(pid)
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                check_equal(int(seen[kind], 16), 0, f"{kind} of {seen['Name']}")
        check_equal(seen["Uid"].split()[0], "0", "Uid of the signer")
        check(kernel_view(dest.pid)["Uid"].split()[0] != "0", "the network's process is root")
    return cure[1].replace(str(folder), "")


def its_folder_is_closed(stage: Stage, authority: Authority) -> str:
    """The network's process cannot read the folder of the key, for all that the files' rights say.

    It is asked to read a CA from there, with the rights of the account that it has.
    """
    ways = ({"user": "root"}, {"user": "root", "signer": False})
    said = []
    with tempfile.TemporaryDirectory(prefix="utun-keys-") as name:
        keys = Path(name)
        keys.chmod(0o755)
        ca = Path(shutil.copy(authority.ca.cert, keys / "ca.crt"))
        key = Path(shutil.copy(authority.server().key, keys / "dest.key"))
        key.chmod(0o600)
        for security in ways:
            changes = {"auth": {"server_key_path": key}, "security": security}
            table = merge(stage.pair("closed", authority).dest_table, changes)
            with start("dest", f"closed-{len(said)}", stage.suite.folder, table) as dest:
                ready(dest)
                if dest.wait_event("sandbox.ready")["landlock"] != "on":
                    return "there is no Landlock here"
                moved = merge(table, {"auth": {"ca_cert_path": ca}})
                (stage.suite.folder / f"{dest.name}.toml").write_text(toml(moved))
                dest.send_signal(signal.SIGHUP)
                wait_until(lambda: dest.events(REFUSED) or dest.events(TAKEN), 10, "the reload")
                refusals = dest.events(REFUSED)
                said.append(REFUSED if refusals else TAKEN)
                for event in refusals:
                    check("ca.crt" in event["detail"], f"refused otherwise: {event['detail']}")
    check_equal(said, [REFUSED, TAKEN], "with the signer and without")
    return "only without the signer"


def it_dies(stage: Stage, authority: Authority) -> None:
    """The role says so, and ends with an error."""
    pair = stage.pair("dies", authority)
    with start("dest", "dies-dest", stage.suite.folder, pair.dest_table) as dest:
        ready(dest)
        os.kill(signer_of(dest), signal.SIGKILL)
        check_equal(dest.wait(10), 1, "exit status")
        line = dest.events("signer.died")[0]
        check("signal 9" in line["detail"], f"detail: {line['detail']}")


def the_role_dies(stage: Stage, authority: Authority) -> None:
    """No signer is left over."""
    pair = stage.pair("alone", authority)
    dest = start("dest", "alone-dest", stage.suite.folder, pair.dest_table)
    ready(dest)
    signer = signer_of(dest)
    dest.stop(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{signer}").exists(), 10, "the signer to end")


def signals_are_for_the_role(stage: Stage, authority: Authority) -> None:
    """A terminal's Ctrl-C and a service manager's SIGTERM reach both; the role needs it to the end."""
    with stage.pair("signals", authority) as pair:
        assert pair.dest and pair.source
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(signer_of(pair.dest), number)
        before = len(pair.source.events("session.up"))
        pair.source.stop()
        pair.source = start(
            "source", "signals-again", stage.suite.folder, pair.source_table
        )
        ready(pair.source)
        check_equal(before, 1, "sessions before")
        check_equal(pair.dest.events("signer.died"), [], "what the dest said")


def main() -> int:
    with Suite("signer") as suite, Echo(suite.folder, suite.ports) as echo:
        stage = Stage(suite, echo)
        authorities = {x: Authority(suite.folder, x.lower(), algorithm=x) for x in ALGORITHMS}
        for algorithm, authority in authorities.items():
            suite.run(algorithm, keys_are_apart, stage, authority, algorithm)
        suite.run("RSA", rsa, stage)
        suite.run("signer = false", without_signer, stage, authorities["ML-DSA-65"])
        if not memcheck.ON:  # without the sandbox
            suite.run("what it may do", is_held, stage, authorities["ML-DSA-65"])
            suite.run("root without rights to others' files", root_with_less, stage, authorities["ML-DSA-65"])
            suite.run("its folder", its_folder_is_closed, stage, authorities["ML-DSA-65"])
        suite.run("it dies", it_dies, stage, authorities["ML-DSA-65"])
        suite.run("the role dies", the_role_dies, stage, authorities["ML-DSA-65"])
        suite.run("signals", signals_are_for_the_role, stage, authorities["ML-DSA-65"])
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
