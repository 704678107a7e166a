#!/usr/bin/env python3
"""Certificates, keys and CRLs are replaced while source and dest run; streams go on."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from content import write_file
from harness import memcheck
from harness.echo import Conversation, Echo, exchange
from harness.process import PATIENCE, Process, run, wait_until
from harness.servers import Nginx
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Identity, Pair, Service, binary, merge

SERVER = ("--dns-names", "localhost", "--ip-addresses", "127.0.0.1,::1")
EVERY_SECOND = {"connection_refresh_interval_secs": 1}


class Stage:
    def __init__(self, suite: Suite, authority: Authority, echo: Echo, nginx: Nginx) -> None:
        self.suite = suite
        self.authority = authority
        self.echo = echo
        self.nginx = nginx


class Renewed:
    """A pair that refreshes every second, with certificates of its own that may be replaced."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        source: dict | None = None,
        auth: dict | None = None,
    ) -> None:
        ports = stage.suite.ports
        self.authority = stage.authority
        self.folder = stage.suite.folder / f"{name}-certs"
        self.folder.mkdir()
        self.server = self.keep("server", self.authority.server())
        self.client = self.keep("client", self.authority.client())
        services = [Service(ports.take(), port) for port in (stage.echo.port, stage.nginx.port)]
        self.echo, self.files = (service.port for service in services)
        paths = {
            "server_cert_path": self.server.cert,
            "server_key_path": self.server.key,
            "client_cert_path": self.client.cert,
            "client_key_path": self.client.key,
        }
        own = [
            {key: path for key, path in paths.items() if role in key}
            for role in ("client", "server")
        ]
        self.pair = Pair(
            stage.suite.folder,
            ports,
            services,
            stage.authority,
            name=name,
            source_changes={
                "source": merge(EVERY_SECOND, source or {}),
                "auth": merge(own[0], auth or {}),
            },
            dest_changes={
                "dest": {"handshake_rate_limit": 0},
                "auth": merge(own[1], auth or {}),
            },
        )

    def keep(self, name: str, issued: Identity) -> Identity:
        kept = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        self.put(issued, kept)
        return kept

    @staticmethod
    def put(issued: Identity, kept: Identity) -> None:
        """Each file appears at once and whole, but not the two at the same time."""
        for new, old in ((issued.key, kept.key), (issued.cert, kept.cert)):
            shutil.copy(new, f"{old}.new")
            os.replace(f"{old}.new", old)

    def client_again(self, files: str) -> Identity:
        """Another certificate for the source's name, with another key."""
        ca = self.authority.ca
        return self.authority.make(
            "client", files, "--common-name", "source", "--algorithm", self.authority.algorithm,
            "--ca-cert", ca.cert, "--ca-key", ca.key,
        )  # fmt: skip

    def __enter__(self) -> Renewed:
        self.pair.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pair.__exit__(*error[:1])

    @property
    def source(self) -> Process:
        assert self.pair.source
        return self.pair.source

    @property
    def dest(self) -> Process:
        assert self.pair.dest
        return self.pair.dest

    def wait_refreshes(self, count: int) -> list[dict]:
        """So many more sessions of the source."""
        before = len(self.source.events("session.up"))
        self.source.wait_event("session.up", count=before + count, seconds=(count + 5) * PATIENCE)
        return self.source.events("session.up")[before:]


class Download:
    """A file that is read slowly, until it is told to come to its end."""

    # MiB, and seconds between two pieces of 64 KiB: nearly a minute, and at full speed some seconds.
    SIZE, SLOWLY = (16, 0.2) if memcheck.ON else (64, 0.05)

    def __init__(self, stage: Stage, port: int, name: str) -> None:
        self.wanted = write_file(stage.nginx.files / name, self.SIZE)
        self.may_end = threading.Event()
        self.got = hashlib.sha256()
        self.error: Exception | None = None
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * PATIENCE)
        self.connection.request("GET", f"/{name}")
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        try:
            answer = self.connection.getresponse()
            while piece := answer.read(65536):
                self.got.update(piece)
                self.may_end.wait(self.SLOWLY)
        except (OSError, http.client.HTTPException) as e:
            self.error = e

    def check(self) -> None:
        """It is not over yet; and when it is, every byte was right."""
        check(self.thread.is_alive(), f"the download has ended already: {self.error}")
        self.may_end.set()
        self.thread.join(60 * PATIENCE)
        check_equal(self.error, None, "error of the download")
        check_equal(self.got.hexdigest(), self.wanted, "SHA-256 of what was downloaded")

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.may_end.set()
        self.connection.close()


def check_all_resumed(renewed: Renewed) -> None:
    for process in (renewed.source, renewed.dest):
        ups = process.events("session.up")
        check_equal([up["resumed"] for up in ups], [False] + [True] * (len(ups) - 1), "resumed")
        check_equal(process.events("tunnel.lost"), [], f"what {process.name} gave up")


# -- the dest's


def server_is_renewed(stage: Stage) -> str:
    """The next session shows the new certificate, and the download does not notice."""
    with Renewed(stage, "server") as renewed:
        with Download(stage, renewed.files, "server-file") as download:
            check_equal(
                {up["peer"] for up in renewed.source.events("session.up")},
                {"dest"},
                "peer",
            )
            renewed.put(renewed.authority.issue("server", "dest-2", *SERVER), renewed.server)
            started = time.monotonic()
            renewed.source.wait_event("session.up", peer="dest-2", seconds=5 * PATIENCE)
            seen = time.monotonic() - started
            download.check()
        reloaded = renewed.dest.events("identity.reloaded")
        check_equal(
            [event["certificate"] for event in reloaded],
            ["dest-2"],
            "what was reloaded",
        )
        check_all_resumed(renewed)
        return f"seen after {seen:.1f} s"


def broken_files_change_nothing(stage: Stage) -> None:
    """Whatever lies there: one line in the log says what is wrong, and the old set stays in use."""
    with Renewed(stage, "broken") as renewed:
        good = renewed.server.cert.read_bytes()
        for number, (text, error) in enumerate(
            ((b"", "cert_format"), (b"nonsense\n", "cert_format"), (None, "not_found"))
        ):
            if text is None:
                renewed.server.cert.unlink()
            else:
                renewed.server.cert.write_bytes(text)
            failure = renewed.dest.wait_event("identity.reload_failed", error=error)
            check(
                str(renewed.server.cert) in failure["detail"],
                f"no file is named: {failure}",
            )
            ups = renewed.wait_refreshes(3)
            check_equal({up["peer"] for up in ups}, {"dest"}, "peer")
            failures = len(renewed.dest.events("identity.reload_failed"))
            check_equal(failures, number + 1, "lines in the log")
        renewed.server.cert.write_bytes(good)
        renewed.dest.wait_event("identity.reloaded")
        exchange(renewed.echo)
        check_all_resumed(renewed)


def another_key_is_not_mixed_in(stage: Stage) -> None:
    """A key that does not belong to the certificate yet: the pair in use stays until both are new."""
    with Renewed(stage, "halfway") as renewed:
        new = renewed.authority.issue("server", "dest-3", *SERVER)
        shutil.copy(new.key, renewed.server.key)
        renewed.dest.wait_event("identity.reload_failed", error="key_mismatch")
        check_equal({up["peer"] for up in renewed.wait_refreshes(2)}, {"dest"}, "peer")
        shutil.copy(new.cert, renewed.server.cert)
        renewed.source.wait_event("session.up", peer="dest-3", seconds=5 * PATIENCE)
        check_all_resumed(renewed)


class Crl:
    """What the CA has revoked, kept by openssl."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "revoked.crl"
        (folder / "index.txt").touch()
        (folder / "openssl.cnf").write_text(
            "[ca]\ndefault_ca = own\n[own]\npolicy = any\n[any]\ncommonName = supplied\n[own]\n"
            f"database = {folder}/index.txt\ndefault_md = sha256\ndefault_crl_days = 1\n"
            f"serial = {folder}/serial\nnew_certs_dir = {folder}\n"
        )
        ca = stage.authority.ca
        self.argv = ["openssl", "ca", "-config", folder / "openssl.cnf"]
        self.argv += ["-cert", ca.cert, "-keyfile", ca.key]
        self.write()

    def write(self) -> None:
        run([*self.argv, "-gencrl", "-out", self.path])

    def issue(self, name: str, seconds: int, extensions: str) -> Identity:
        """A certificate that is over after so many seconds, as `utun cert` makes none."""
        made = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        asked, wanted = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        wanted.write_text(extensions)
        until = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))
        run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", f"/CN={name}", "-keyout", made.key, "-out", asked])  # fmt: skip
        made.key.chmod(0o600)
        run([*self.argv, "-batch", "-notext", "-create_serial", "-in", asked, "-out", made.cert,
             "-extfile", wanted, "-enddate", until])  # fmt: skip
        return made

    def revoke(self, cert: Path) -> None:
        run([*self.argv, "-revoke", cert])
        self.write()


def with_own_ca(stage: Stage, name: str) -> tuple[Stage, Crl]:
    """The stage with another CA, whose certificates openssl may revoke."""
    folder = stage.suite.folder / name
    folder.mkdir()
    authority = Authority(stage.suite.folder, f"{name}-ca", "ECDSA-P256")
    other = Stage(stage.suite, authority, stage.echo, stage.nginx)
    return other, Crl(other, folder)


def revocation_counts_at_once(stage: Stage) -> None:
    """The dest's CRL is replaced: the source that it names gets no further session."""
    other, crl = with_own_ca(stage, "crl")
    with Renewed(other, "revoked", auth={"crl_path": crl.path}) as renewed:
        renewed.wait_refreshes(1)
        exchange(renewed.echo)
        crl.revoke(renewed.client.cert)
        # At a refresh, or after the dest has ended its tunnel: whichever comes first.
        renewed.source.wait_event("handshake.failed", error="cert_refused", seconds=10 * PATIENCE)
        renewed.dest.wait_event("handshake.failed", error="cert_revoked")


class OwnCrl:
    """The same by `utun cert crl`, kept beside the CA and copied to where the roles read it."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.path = folder / "crl.pem"
        self.kept = authority.folder / "crl.pem"
        ca = authority.ca
        self.argv = [binary(), "cert", "crl", "--ca-cert", ca.cert, "--ca-key", ca.key]
        self.argv += ["--out-crl", self.kept, "--days", "1"]
        self.renew()

    def renew(self, *options: object) -> None:
        run([*self.argv, *options])
        shutil.copy(self.kept, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)

    def revoke(self, cert: Path) -> None:
        self.renew("--revoke", cert)


def revoked_source_loses_its_session(stage: Stage) -> str:
    """An ML-DSA CA's list is gone on with: the dest ends the session of the source that it names
    now, and no other begins, while a renewal that names nobody changes nothing."""
    folder = stage.suite.folder / "own-crl"
    folder.mkdir()
    authority = Authority(stage.suite.folder, "own-crl-ca", "ML-DSA-65")
    crl = OwnCrl(authority, folder)
    seldom = {"connection_refresh_interval_secs": 600}
    other = Stage(stage.suite, authority, stage.echo, stage.nginx)
    with Renewed(other, "own-revoked", seldom, {"crl_path": crl.path}) as renewed:
        with Conversation(renewed.echo) as talk:
            talk.say(b"before")
            crl.renew()
            for process in (renewed.source, renewed.dest):
                process.wait_event("identity.reloaded", seconds=10 * PATIENCE)
            talk.say(b"after a renewal")
            check_equal(renewed.dest.events("audit.revoked"), [], "who was revoked")
            started = time.monotonic()
            crl.revoke(renewed.client.cert)
            renewed.dest.wait_event("audit.revoked", reason="cert_revoked", seconds=10 * PATIENCE)
            seen = time.monotonic() - started
            renewed.source.wait_event(
                "handshake.failed", error="cert_refused", seconds=10 * PATIENCE
            )
            check_equal(len(renewed.dest.events("session.up")), 1, "sessions")
    return f"ended after {seen:.1f} s"


def revoked_dest_loses_its_session(stage: Stage) -> str:
    """The source's CRL is replaced: the session that runs ends without any refresh, and no other
    begins before the dest has a good certificate. Then its streams go on."""
    other, crl = with_own_ca(stage, "dest-crl")
    seldom = {"connection_refresh_interval_secs": 600}
    with Renewed(other, "dest-revoked", seldom, {"crl_path": crl.path}) as renewed:
        with Conversation(renewed.echo) as talk:
            talk.say(b"before")
            started = time.monotonic()
            crl.revoke(renewed.server.cert)
            renewed.source.wait_event("session.down", reason="cert_revoked", seconds=10 * PATIENCE)
            seen = time.monotonic() - started
            renewed.source.wait_event("handshake.failed", error="cert_revoked")
            check_equal(len(renewed.source.events("session.up")), 1, "sessions")
            renewed.put(renewed.authority.issue("server", "dest-4", *SERVER), renewed.server)
            renewed.source.wait_event("session.up", peer="dest-4", seconds=20 * PATIENCE)
            talk.say(b"after")
        check_equal(
            [up["resumed"] for up in renewed.source.events("session.up")], [False, True], "resumed"
        )
        return f"ended after {seen:.1f} s"


class Expiring:
    """Two pairs that run, one whose source's certificate is about to expire, one whose dest's is."""

    LIFETIME = 45  # seconds; the other cases run meanwhile

    def __init__(self, stage: Stage) -> None:
        self.stage, issuer = with_own_ca(stage, "expiry")
        client = issuer.issue("source", self.LIFETIME, "extendedKeyUsage = clientAuth\n")
        server = issuer.issue(
            "dest",
            self.LIFETIME,
            "extendedKeyUsage = serverAuth\nsubjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1\n",
        )
        self.over = time.time() + self.LIFETIME
        seldom = {"connection_refresh_interval_secs": 600}
        self.source = Renewed(self.stage, "source-expires", seldom)
        self.source.put(client, self.source.client)
        self.dest = Renewed(self.stage, "dest-expires", seldom)
        self.dest.put(server, self.dest.server)

    def __enter__(self) -> Expiring:
        self.source.__enter__()
        self.dest.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.dest.__exit__(*error)
        self.source.__exit__(*error)

    def check_ends(self) -> None:
        """Nothing but the hour ends the sessions: no file changes, no refresh is due."""
        left = max(0.0, self.over - time.time()) + 10 * PATIENCE
        self.source.dest.wait_event("audit.revoked", reason="cert_expired", seconds=left)
        self.source.source.wait_event("session.go_away", code=15)
        self.dest.source.wait_event("session.down", reason="cert_expired", seconds=10 * PATIENCE)
        for renewed in (self.source, self.dest):
            check_equal(len(renewed.dest.events("session.up")), 1, "sessions")


# -- the source's


def client_is_renewed(stage: Stage) -> str:
    """The same names, another key: each refresh goes on with the streams of the last."""
    with Renewed(stage, "client") as renewed:
        with Download(stage, renewed.files, "client-file") as download:
            for number in (1, 2):
                renewed.put(renewed.client_again(f"source-{number}"), renewed.client)
                renewed.source.wait_event(
                    "identity.reloaded",
                    count=number,
                    seconds=5 * PATIENCE,
                    certificate="source",
                )
                renewed.wait_refreshes(2)
            download.check()
        prints = {e["fingerprint"] for e in renewed.source.events("identity.reloaded")}
        check_equal(len(prints), 2, "certificates that were read")
        check_all_resumed(renewed)
        return f"{len(renewed.source.events('session.refresh'))} refreshes"


def renewed_client_is_shown_at_once(stage: Stage) -> str:
    """No refresh is due, ever: one comes all the same, or streams would end with the old one."""
    never = {"connection_refresh_interval_secs": 0}
    with Renewed(stage, "at-once", never) as renewed:
        with Conversation(renewed.echo) as talk:
            talk.say(b"before")
            started = time.monotonic()
            renewed.put(renewed.client_again("source-at-once"), renewed.client)
            renewed.source.wait_event("session.refresh", seconds=10 * PATIENCE)
            seen = time.monotonic() - started
            talk.say(b"after")
        renewed.source.wait_event("session.up", count=2)
        check_equal(len(renewed.source.events("session.up")), 2, "sessions")
        check_all_resumed(renewed)
        return f"shown after {seen:.1f} s"


def another_name_is_another_source(stage: Stage) -> str:
    """No resume for it: old streams end on their old session, or are cut when that takes too long."""
    drain = 20 if memcheck.ON else 4
    changes = {"connection_drain_timeout_secs": drain}
    with Renewed(stage, "other", changes) as renewed:
        with (
            Download(stage, renewed.files, "other-file") as download,
            Conversation(renewed.echo) as talk,
        ):
            talk.say(b"before")
            renewed.put(renewed.authority.issue("client", "somebody-else"), renewed.client)
            up = renewed.dest.wait_event("session.up", peer="somebody-else", seconds=5 * PATIENCE)
            check_equal(up["resumed"], False, "whether another name continues the tunnel")
            started = time.monotonic()
            renewed.source.wait_event("tunnel.draining")
            # New connections go by the new tunnel, old ones by the old: all of them work.
            exchange(renewed.echo)
            talk.say(os.urandom(100_000))
            download.check()
            talk.say(os.urandom(100_000))
            # Refreshes of the new tunnel go on beside it, and leave it alone.
            check(
                all(up["resumed"] for up in renewed.wait_refreshes(1)),
                "a refresh began anew",
            )
            talk.sock.settimeout(2 * drain * PATIENCE)
            try:
                check_equal(talk.sock.recv(1), None, "what is read when time is over")
            except ConnectionResetError:
                pass
            waited = time.monotonic() - started
            check(waited > drain - 0.5, f"cut after {waited:.1f} s")
            check(waited < drain + 2 * PATIENCE, f"cut after {waited:.1f} s")
        exchange(renewed.echo)
        return f"the last stream was cut after {waited:.1f} s"


def draining_ends_with_the_last_stream(stage: Stage) -> None:
    """The old session is closed as soon as nothing needs it."""
    with Renewed(stage, "drained", {"connection_drain_timeout_secs": 600}) as renewed:
        with Conversation(renewed.echo) as talk:
            talk.say(b"before")
            renewed.put(renewed.authority.issue("client", "somebody-else"), renewed.client)
            renewed.source.wait_event("tunnel.draining", seconds=5 * PATIENCE)
            fresh = renewed.dest.wait_event("session.up", peer="somebody-else")
            talk.say(b"after")
            check(
                not renewed.dest.events("session.down", peer="source", reason="closed"),
                "the old session was closed too early",
            )
            talk.finish()
        wait_until(
            lambda: len(renewed.dest.events("session.up", peer="source"))
            == len(renewed.dest.events("session.down", peer="source")),
            5 * PATIENCE,
            "the old session to end",
        )
        check_equal(fresh["resumed"], False, "resumed")
        check_equal(renewed.source.events("tunnel.lost"), [], "what was given up")


# -- the CA


def ca_is_replaced(stage: Stage) -> str:
    """Both are trusted for a while, the new one issues, the old one goes; a download goes on."""
    old, new = stage.authority, Authority(stage.suite.folder, "next-ca")
    trusted = stage.suite.folder / "trusted.crt"
    shutil.copy(old.ca.cert, trusted)

    def trust(number: int, *authorities: Authority) -> None:
        text = "".join(authority.ca.cert.read_text() for authority in authorities)
        (trusted.parent / "trusted.new").write_text(text)
        os.replace(trusted.parent / "trusted.new", trusted)
        for process in (renewed.source, renewed.dest):
            process.wait_event("identity.reloaded", count=number, seconds=5)

    drain = {"connection_drain_timeout_secs": 600}
    with Renewed(stage, "ca", drain, {"ca_cert_path": trusted}) as renewed:
        with Download(stage, renewed.files, "ca-file") as download:
            trust(1, old, new)
            renewed.put(new.server(), renewed.server)
            renewed.dest.wait_event("identity.reloaded", count=2, seconds=5)
            renewed.put(new.client(), renewed.client)
            # To the dest it is another source, for another CA says so.
            renewed.source.wait_event("tunnel.draining", seconds=5)
            exchange(renewed.echo)
            download.check()
        # Whoever has only the old one's word would be cut off from here on.
        trust(3, new)
        renewed.wait_refreshes(2)
        exchange(renewed.echo)
        check_equal(renewed.source.events("tunnel.lost"), [], "what was given up")
        return f"{len(renewed.source.events('session.up'))} sessions"


def insecurity_is_said_once(stage: Stage) -> None:
    """Refreshes read everything afresh; what the operator has been warned of is not news."""
    with Renewed(stage, "insecure", auth={"use_mtls": False}) as renewed:
        renewed.wait_refreshes(3)
        exchange(renewed.echo)
        for process in (renewed.source, renewed.dest):
            check_equal(len(process.events("auth.insecure")), 1, f"warnings of {process.name}")


def main() -> int:
    with Suite("renewal") as suite:
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo, Nginx(suite.folder, suite.ports) as nginx:
            stage = Stage(suite, authority, echo, nginx)
            with Expiring(stage) as expiring:
                suite.run("the dest's certificate is renewed", server_is_renewed, stage)
                suite.run("files that are no good", broken_files_change_nothing, stage)
                suite.run(
                    "a key and its certificate, one by one",
                    another_key_is_not_mixed_in,
                    stage,
                )
                suite.run("a CRL is replaced", revocation_counts_at_once, stage)
                suite.run("a CRL of utun's is replaced", revoked_source_loses_its_session, stage)
                suite.run("a CRL is replaced at a source", revoked_dest_loses_its_session, stage)
                suite.run("the source's certificate is renewed", client_is_renewed, stage)
                suite.run("a renewal is shown at once", renewed_client_is_shown_at_once, stage)
                suite.run("a source that gets another name", another_name_is_another_source, stage)
                suite.run(
                    "an old tunnel without streams",
                    draining_ends_with_the_last_stream,
                    stage,
                )
                suite.run("the CA is replaced", ca_is_replaced, stage)
                suite.run("what is insecure is said once", insecurity_is_said_once, stage)
                suite.run("certificates that expire", expiring.check_ends)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
