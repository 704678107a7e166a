"""utun check: what it says about good and bad configurations and the certificates they name.

UTUN names the binary. test_examples.py checks the files of examples/.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

UTUN = Path(os.environ["UTUN"]).resolve()

SOURCE = """[source]
dest_host = "dest.example"
dest_tunnel_port = 9443
[auth]
ca_cert_path = "ca.crt"
client_cert_path = "client.crt"
client_key_path = "client.key"
"""
DEST = """[dest]
tunnel_port = 9443
[[dest.exposed_services]]
name = "web"
port = 8080
target_ip = "127.0.0.1"
target_port = 80
[auth]
ca_cert_path = "ca.crt"
server_cert_path = "server.crt"
server_key_path = "server.key"
"""


def utun(*args, cwd=None, user=None):
    with tempfile.TemporaryDirectory() as folder:
        program = UTUN if user is None else program_for_all(Path(folder))
        return run_utun(program, args, cwd, user)


def program_for_all(folder: Path) -> Path:
    """A copy that everybody may run: the build folder may be in somebody's home."""
    folder.chmod(0o755)
    program = folder / "utun"
    shutil.copy(UTUN, program)
    program.chmod(0o755)
    return program


def run_utun(program, args, cwd, user):
    done = subprocess.run(
        [str(a) for a in (program, *args)],
        cwd=cwd,
        user=user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert "Sanitizer" not in done.stderr, done.stderr
    return done


def make_certificates(folder: Path) -> None:
    """A CA, a client and a server of it, and an expired and a short-lived client."""
    ca = ("--ca-cert=ca.crt", "--ca-key=ca.key")
    quick = "--algorithm=ed25519"
    rows = [
        ("ca", "--common-name=CA", "--out-cert=ca.crt", "--out-key=ca.key", quick),
        ("client", "--common-name=c", "--out-cert=client.crt", "--out-key=client.key", *ca, quick),
        (
            "client",
            "--common-name=c",
            "--out-cert=soon.crt",
            "--out-key=soon.key",
            *ca,
            quick,
            "--days=3",
        ),
        (
            "client",
            "--common-name=c",
            "--out-cert=old.crt",
            "--out-key=old.key",
            *ca,
            quick,
            "--not-before=2020-01-01",
            "--not-after=2020-02-01",
        ),
        (
            "server",
            "--common-name=s",
            "--dns-names=dest.example",
            "--ip-addresses=127.0.0.1",
            "--out-cert=server.crt",
            "--out-key=server.key",
            *ca,
        ),
    ]
    for row in rows:
        done = utun("cert", *row, cwd=folder)
        if done.returncode != 0:
            raise RuntimeError(f"{row}: {done.stderr}")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="utun-check-")
        cls.addClassCleanup(folder.cleanup)
        cls.certificates = Path(folder.name)
        make_certificates(cls.certificates)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="utun-check-")
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name) / "etc"
        shutil.copytree(self.certificates, self.dir)
        self.dir.parent.chmod(0o755)
        self.dir.chmod(0o755)

    def write(self, text, name="config.toml"):
        path = self.dir / name
        path.write_text(text)
        return path

    def accepted(self, path, *args):
        done = utun("check", "-c", path, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{path}: ok", done.stdout)
        return done

    def refused(self, path, *args, user=None):
        """The lines on stderr of a check that must end with status 2."""
        done = utun("check", "-c", path, *args, user=user)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def line_of(self, path, key):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith(key + " "):
                return number
        raise KeyError(key)


class Good(Case):
    def test_a_source_and_a_dest_pass_without_a_word_on_stderr(self):
        source = self.accepted(self.write(SOURCE))
        self.assertEqual(source.stderr, "")
        self.assertIn("a source in transparent mode", source.stdout)
        dest = self.accepted(self.write(DEST), "--role", "dest")
        self.assertEqual(dest.stderr, "")
        self.assertIn("a dest with 1 exposed service\n", dest.stdout)

    def test_relative_paths_start_at_the_file_and_not_at_the_working_directory(self):
        self.write(SOURCE)
        done = utun("check", "-c", "etc/config.toml", cwd=self.dir.parent)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = utun("check", "-c", "config.toml", cwd=self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_warnings_do_not_refuse(self):
        done = self.accepted(self.write(SOURCE + "use_mtls = false\n"))
        self.assertIn(":8:12: warning: use_mtls = false", done.stderr)
        self.assertIn("1 warning", done.stdout)

    def test_a_certificate_near_its_end_is_a_warning(self):
        path = self.write(
            SOURCE.replace("client.crt", "soon.crt").replace("client.key", "soon.key")
        )
        self.assertRegex(
            self.accepted(path).stderr, r":6:20: warning: the certificate expires in [23] days"
        )

    def test_a_dest_that_verifies_nobody_needs_no_ca(self):
        text = DEST.replace('ca_cert_path = "ca.crt"\n', "use_mtls = false\n")
        self.accepted(self.write(text))

    def test_the_list_of_keys(self):
        done = utun("check", "--keys")
        self.assertEqual(done.returncode, 0)
        for key in ("dest_tunnel_port", "exposed_services", "kem_mode", "metrics_bind_ip"):
            self.assertIn(key, done.stdout)


class Effective(Case):
    """What counts, and where each value came from."""

    def origins(self, *args):
        """Lines of the listing by section: {"[source]": {"mode": ('"hybrid"', "default")}}."""
        found, section = [], {}
        for line in self.accepted(*args).stdout.splitlines():
            if line.startswith("["):
                section = {}
                found.append((line, section))
            elif line.startswith("  "):
                key, _, rest = line.strip().partition(" = ")
                value, _, origin = rest.rpartition("  ")
                section[key] = (value.strip(), origin)
        return found

    def test_file_option_and_default_are_told_apart(self):
        path = self.write(SOURCE + 'crl_path = ""\n[logging]\nlevel = "warn"\n')
        listing = dict(self.origins(path, "--dest-host", "127.0.0.1", "--log-format=plain"))
        source = listing["[source]"]
        self.assertEqual(source["dest_host"], ('["127.0.0.1"]', "--dest-host"))
        self.assertEqual(source["dest_tunnel_port"], ("9443", "config.toml:3:20"))
        self.assertEqual(source["mode"], ('"transparent"', "default"))
        self.assertEqual(source["proxy_users_path"], ("-", "not set"))
        ca = (f'"{self.dir}/ca.crt"', "config.toml:5:16")
        self.assertEqual(listing["[auth]"]["ca_cert_path"], ca)
        self.assertEqual(listing["[logging]"]["level"], ('"warn"', "config.toml:10:9"))
        self.assertEqual(listing["[logging]"]["format"], ('"plain"', "--log-format"))
        self.assertEqual(listing["[[source.exposed_ports]]"]["port"], ("8443", "default"))
        self.assertNotIn("[dest]", listing)

    def test_only_the_sections_of_the_role(self):
        services, own_files = DEST.split('[auth]\nca_cert_path = "ca.crt"\n')
        path = self.write(SOURCE + own_files + services)
        self.assertIn("[dest]", dict(self.origins(path)))
        self.assertNotIn("[dest]", dict(self.origins(path, "--role", "source")))
        self.assertNotIn("[source]", dict(self.origins(path, "--role", "dest")))

    def test_an_option_of_the_other_role_is_refused(self):
        path = self.write(SOURCE)
        text = self.refused(path, "--role=source", "--tunnel-port=1")
        self.assertIn("--tunnel-port: error: it has no meaning for a source", text)
        self.assertIn("--listen-ip: error", self.refused(path, "--listen-ip", "lan"))

    def test_json_says_the_same(self):
        path = self.write(DEST + "use_mtls = false\n")
        done = utun("check", "-c", path, "--json", "--metrics-port", "1234")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        said = json.loads(done.stdout)
        self.assertEqual((said["file"], said["good"]), (str(path), True))
        self.assertEqual([p["level"] for p in said["problems"]], ["warning"])
        self.assertEqual((said["problems"][0]["line"], said["problems"][0]["column"]), (12, 12))
        rows = {(s["section"], s["key"]): s for s in said["settings"]}
        port = rows["dest.exposed_services", "target_port"]
        self.assertEqual((port["value"], port["from"], port["index"]), (80, "file", 0))
        self.assertEqual((port["line"], port["column"]), (7, 15))
        metrics = rows["metrics", "metrics_port"]
        self.assertEqual((metrics["value"], metrics["option"]), (1234, "--metrics-port"))
        self.assertIs(rows["auth", "crl_path"]["value"], None)
        self.assertIs(rows["auth", "use_mtls"]["value"], False)
        self.assertEqual(rows["dest", "workers"]["from"], "default")

    def test_json_of_a_bad_file(self):
        done = utun("check", "-c", self.write("[dest]\ntunel_port = 1\n"), "--json")
        self.assertEqual((done.returncode, done.stderr), (2, ""))
        said = json.loads(done.stdout)
        self.assertEqual((said["good"], said["settings"]), (False, []))
        wanted = "did you mean 'tunnel_port'?"
        slips = [p for p in said["problems"] if p.get("suggestion") == wanted]
        self.assertEqual([(p["level"], p["line"]) for p in slips], [("error", 2)])

    def test_json_of_what_is_not_utf8(self):
        """A file's name of any bytes, and a text that is cut in the middle of a character."""
        path = Path(os.fsdecode(os.fsencode(self.dir) + b"/\xff.toml"))
        path.write_text("[dest]\n'x" + "\u00e9" * 60 + "' = 1\n")
        done = utun("check", "-c", path, "--json")
        self.assertEqual((done.returncode, done.stderr), (2, ""))
        said = json.loads(done.stdout)
        self.assertEqual((said["file"], said["good"]), (f"{self.dir}/\ufffd.toml", False))
        unknown = [p["text"] for p in said["problems"] if p["text"].startswith("unknown key")]
        self.assertEqual(len(unknown), 1)
        self.assertIn("\u00e9\ufffd", unknown[0])

    def test_passwords_are_never_printed(self):
        users = self.dir / "users"
        users.write_text("alice:Xyzzy-secret-99\n")
        users.chmod(0o600)
        text = SOURCE.replace("[auth]", 'mode = "protocol"\nproxy_users_path = "users"\n[auth]')
        path = self.write(text)
        for options in ([], ["--json"]):
            done = utun("check", "-c", path, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("users", done.stdout)
            self.assertNotIn("Xyzzy", done.stdout + done.stderr)
            self.assertNotIn("alice", done.stdout + done.stderr)
            self.assertNotIn("PRIVATE", done.stdout)


class Bad(Case):
    def test_all_problems_come_at_once_and_in_order(self):
        path = self.write(
            '[source]\nlisten_port = 0\nmoed = 1\ndest_host = "dest.example"\n'
            'dest_tunnel_port = "9443"\n[[source.exposed_ports]]\nport = 22\n'
            '[[source.exposed_ports]]\nport = 22\nprotocol = "both"\n[auth]\n'
        )
        lines = self.refused(path).splitlines()
        places = [
            int(m.group(1)) for m in (re.search(r"\.toml:(\d+):\d+: error", l) for l in lines) if m
        ]
        self.assertEqual(places, sorted(places))
        self.assertEqual(set(places), {2, 3, 5, 9, 11})
        self.assertTrue(all(line.startswith(f"{path}:") for line in lines[:-1]), lines)
        self.assertIn("did you mean 'mode'?", lines[1])
        self.assertIn(f"{len(places)} errors", lines[-1])

    def test_files_that_cannot_be_read(self):
        self.assertIn("No such file or directory; create it", self.refused(self.dir / "none.toml"))
        self.assertIn("Is a directory", self.refused(self.dir))
        self.assertIn("error: larger than 1 MiB", self.refused(self.write("#\n" * 600_000)))
        self.assertIn("config.toml:1:", self.refused(self.write("[source\n")))
        self.assertIn("not UTF-8", self.refused_bytes(b"\xff\xfe"))
        self.refused_bytes(b"\x00" * 100)
        self.refused_bytes(b"")

    def refused_bytes(self, data):
        path = self.dir / "config.toml"
        path.write_bytes(data)
        return self.refused(path)

    def test_the_section_of_the_role_must_be_there(self):
        path = self.write(SOURCE)
        self.assertIn(
            "no [dest] section; add it, or start `utun source`", self.refused(path, "--role=dest")
        )
        self.assertIn("neither a [source] nor a [dest]", self.refused(self.write("[auth]\n")))

    def test_a_shared_file_is_good_for_a_role_that_has_its_own_files(self):
        text = SOURCE + DEST.replace('[auth]\nca_cert_path = "ca.crt"\n', "")
        path = self.write(
            text.replace("[dest]", "@")
            .replace('server_cert_path = "server.crt"\nserver_key_path = "server.key"\n', "")
            .replace("@", "[dest]")
        )
        self.accepted(path, "--role=source")
        said = self.refused(path, "--role=dest")
        self.assertIn("[auth] has no 'server_cert_path'", said)
        self.assertIn("[auth] has no 'server_key_path'", said)
        self.refused(path)

    def test_every_missing_file_is_reported_with_its_line(self):
        path = self.write(SOURCE)
        for name in ("ca.crt", "client.crt", "client.key"):
            (self.dir / name).unlink()
        said = self.refused(path)
        for key, name in (
            ("ca_cert_path", "ca.crt"),
            ("client_cert_path", "client.crt"),
            ("client_key_path", "client.key"),
        ):
            line = self.line_of(path, key)
            self.assertRegex(
                said, rf"config\.toml:{line}:\d+: error: .*{re.escape(str(self.dir / name))}"
            )

    def test_files_that_are_no_certificates(self):
        path = self.write(SOURCE)
        for key, name in (
            ("ca_cert_path", "ca.crt"),
            ("client_cert_path", "client.crt"),
            ("client_key_path", "client.key"),
        ):
            with self.subTest(name):
                kept = (self.dir / name).read_bytes()
                (self.dir / name).write_bytes(b"nonsense\n")
                line = self.line_of(path, key)
                self.assertIn(f"config.toml:{line}:", self.refused(path))
                (self.dir / name).write_bytes(kept)

    def test_a_key_that_others_can_read(self):
        path = self.write(SOURCE)
        (self.dir / "client.key").chmod(0o644)
        said = self.refused(path)
        self.assertIn(f"config.toml:{self.line_of(path, 'client_key_path')}:", said)
        self.assertIn("chmod", said)
        path = self.write(SOURCE + "allow_insecure_key_files = true\n")
        self.assertIn("warning: allow_insecure_key_files", self.accepted(path).stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_key_of_somebody_else(self):
        nobody = pwd.getpwnam("nobody").pw_uid
        path = self.write(SOURCE)
        said = self.refused(path, user=nobody)
        self.assertIn(f"config.toml:{self.line_of(path, 'client_key_path')}:", said)
        self.assertRegex(said, r"(?i)permission|may not")
        path.chmod(0o600)
        self.assertIn(
            "cannot read the configuration: Permission denied", self.refused(path, user=nobody)
        )

    def test_a_certificate_and_the_key_of_another(self):
        path = self.write(SOURCE.replace("client.key", "soon.key"))
        said = self.refused(path)
        self.assertIn(f"config.toml:{self.line_of(path, 'client_cert_path')}:", said)
        self.assertIn("does not belong to the private key", said)

    def test_an_expired_certificate(self):
        path = self.write(SOURCE.replace("client.crt", "old.crt").replace("client.key", "old.key"))
        said = self.refused(path)
        self.assertIn(f"config.toml:{self.line_of(path, 'client_cert_path')}:", said)
        self.assertIn("expired", said)

    def test_a_certificate_for_the_other_role(self):
        path = self.write(
            DEST.replace("server.crt", "client.crt").replace("server.key", "client.key")
        )
        said = self.refused(path)
        self.assertIn(f"config.toml:{self.line_of(path, 'server_cert_path')}:", said)
        self.assertIn("serverAuth", said)

    def test_a_ca_that_is_none(self):
        path = self.write(SOURCE.replace("ca.crt", "client.crt", 1))
        said = self.refused(path)
        self.assertIn(f"config.toml:{self.line_of(path, 'ca_cert_path')}:", said)
        self.assertIn("is not a CA", said)

    def test_wrong_options(self):
        for args in (("--role=both",), ("--rule=source",), ("extra",)):
            with self.subTest(args):
                self.refused(self.write(SOURCE), *args)

    def test_nothing_in_a_file_reaches_the_terminal_as_a_control_character(self):
        said = self.refused(
            self.write('[source]\n"\\u001b]0;x\\u0007" = 1\nmode = "\\u001b[31m"\n')
        )
        self.assertNotIn("\x1b", said)
        self.assertNotIn("\x07", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
