"""utun cert, version and the common command line, as a person and as openssl see them.

UTUN names the binary. Ed25519 and ECDSA certificates are also checked by the system's openssl;
versions before 3.5 do not know ML-DSA, so those are checked by utun alone.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

UTUN = Path(os.environ["UTUN"]).resolve()
OPENSSL_KNOWS = ("ed25519", "ecdsa-p256", "ecdsa-p384")
ALGORITHMS = ("ml-dsa-44", "ml-dsa-65", "ml-dsa-87") + OPENSSL_KNOWS


def run(argv, cwd, user=None):
    return subprocess.run(
        [str(a) for a in argv],
        cwd=cwd,
        user=user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="utun-cert-")
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.dir.chmod(0o755)

    def utun(self, *args, expect=0):
        done = run([UTUN, *args], self.dir)
        self.assertEqual(done.returncode, expect, f"{args}\n{done.stdout}{done.stderr}")
        self.assertNotIn("AddressSanitizer", done.stderr)
        return done

    def refused(self, *args, status=1):
        """The complaint of a command that must fail: one line on stderr, nothing on stdout."""
        done = self.utun(*args, expect=status)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def openssl(self, *args, expect=0):
        done = run(["openssl", *args], self.dir)
        self.assertEqual(done.returncode, expect, f"{args}\n{done.stdout}{done.stderr}")
        return done.stdout

    def path(self, name):
        return self.dir / name

    def mode(self, name):
        return stat.S_IMODE(self.path(name).stat().st_mode)

    def make_ca(self, name="ca", *extra, common_name="Test CA"):
        return self.utun(
            "cert",
            "ca",
            "--common-name",
            common_name,
            "--out-cert",
            f"{name}.crt",
            "--out-key",
            f"{name}.key",
            *extra,
        )

    def leaf(self, kind, name, *extra, ca="ca"):
        return [
            "cert",
            kind,
            "--common-name",
            name,
            "--ca-cert",
            f"{ca}.crt",
            "--ca-key",
            f"{ca}.key",
            "--out-cert",
            f"{name}.crt",
            "--out-key",
            f"{name}.key",
            *extra,
        ]

    def make(self, kind, name, *extra, ca="ca"):
        return self.utun(*self.leaf(kind, name, *extra, ca=ca))

    def shown(self, path: str) -> list[str]:
        """What `show` says of a certificate or CRL, without the file's name and the days left."""
        lines = self.utun("cert", "show", path).stdout.splitlines()[1:]
        return [re.sub(r"\(\d+ \w+ left\)", "", line) for line in lines]

    def as_stranger(self, *args):
        """Runs utun as a user that owns nothing here; ourselves if we are not root."""
        binary = self.path("utun-copy")
        if not binary.exists():
            shutil.copy(UTUN, binary)
            binary.chmod(0o755)
        user = "nobody" if os.geteuid() == 0 else None
        done = run([binary, *args], self.dir, user=user)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr, user or pwd.getpwuid(os.geteuid()).pw_name


class Issuing(Case):
    def test_every_algorithm_from_ca_to_verify(self):
        for algorithm in ALGORITHMS:
            with self.subTest(algorithm):
                chosen = ["--algorithm", algorithm]
                self.make_ca("ca", *chosen, "--force")
                self.make(
                    "server",
                    "dest.example",
                    *chosen,
                    "--dns-names",
                    "dest.example,*.lab.example",
                    "--ip-addresses",
                    "192.0.2.1,::1",
                    "--force",
                )
                self.make("client", "edge-1", *chosen, "--force")
                for hostname in ("dest.example", "a.lab.example", "192.0.2.1", "::1"):
                    self.utun(
                        "cert",
                        "verify",
                        "--cert",
                        "dest.example.crt",
                        "--ca-cert",
                        "ca.crt",
                        "--key",
                        "dest.example.key",
                        "--purpose",
                        "server",
                        "--hostname",
                        hostname,
                    )
                self.utun(
                    "cert",
                    "verify",
                    "--cert",
                    "edge-1.crt",
                    "--ca-cert",
                    "ca.crt",
                    "--key",
                    "edge-1.key",
                    "--purpose",
                    "client",
                )

    def test_ml_dsa_65_is_the_default(self):
        self.make_ca()
        self.make("server", "dest.example")
        for name in ("ca.crt", "dest.example.crt"):
            shown = self.utun("cert", "show", name).stdout
            self.assertRegex(shown, r"algorithm +ML-DSA-65\n")
            self.assertRegex(shown, r"signed with +ML-DSA-65\n")

    def test_openssl_accepts_what_we_issue(self):
        for algorithm in OPENSSL_KNOWS:
            with self.subTest(algorithm):
                chosen = ["--algorithm", algorithm, "--force"]
                self.make_ca("ca", *chosen)
                self.make(
                    "server",
                    "dest.example",
                    *chosen,
                    "--ip-addresses",
                    "2001:db8::1",
                    "--dns-names",
                    "dest.example",
                )
                self.make("client", "edge-1", *chosen)
                strict = ["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.crt"]
                self.openssl(
                    *strict,
                    "-purpose",
                    "sslserver",
                    "-verify_hostname",
                    "dest.example",
                    "dest.example.crt",
                )
                self.openssl(
                    *strict,
                    "-purpose",
                    "sslserver",
                    "-verify_ip",
                    "2001:db8::1",
                    "dest.example.crt",
                )
                self.openssl(*strict, "-purpose", "sslclient", "edge-1.crt")
                self.openssl(*strict, "-purpose", "sslclient", "dest.example.crt", expect=2)
                self.openssl(*strict, "-purpose", "sslserver", "edge-1.crt", expect=2)
                for name in ("ca", "dest.example", "edge-1"):
                    public = self.openssl("x509", "-in", f"{name}.crt", "-noout", "-pubkey")
                    self.assertEqual(public, self.openssl("pkey", "-in", f"{name}.key", "-pubout"))

    def test_openssl_reads_the_same_values_as_show(self):
        self.make_ca("ca", "--algorithm", "p256")
        self.make("server", "dest.example", "--algorithm", "p384", "--dns-names", "a.example")
        shown = self.utun("cert", "show", "dest.example.crt").stdout
        fingerprint = (
            self.openssl("x509", "-in", "dest.example.crt", "-noout", "-fingerprint", "-sha256")
            .strip()
            .split("=")[1]
        )
        self.assertIn(fingerprint, shown)
        serial = self.openssl("x509", "-in", "dest.example.crt", "-noout", "-serial").strip()
        self.assertIn(serial.split("=")[1], shown.replace(":", ""))
        for wanted in (
            r"subject +CN=dest\.example\n",
            r"issuer +CN=Test CA\n",
            r"names +DNS:a\.example\n",
            r"algorithm +ECDSA P-384\n",
            r"kind +leaf\n",
            r"key usage +digitalSignature\n",
            r"extended +serverAuth\n",
            r"valid until +\S+ \S+ UTC \(36[45] days left\)\n",
        ):
            self.assertRegex(shown, wanted)

    def test_modes_and_nothing_secret_on_the_terminal(self):
        outputs = [self.make_ca(), self.make("server", "dest.example")]
        for name in ("ca", "dest.example"):
            self.assertEqual(self.mode(f"{name}.key"), 0o600)
            self.assertEqual(self.mode(f"{name}.crt"), 0o644)
            key = self.path(f"{name}.key").read_text().splitlines()
            self.assertEqual(key[0], "-----BEGIN PRIVATE KEY-----")
            for done in outputs:
                self.assertNotIn(key[1], done.stdout + done.stderr)
                self.assertNotIn("BEGIN", done.stdout + done.stderr)

    def test_nothing_is_overwritten_without_force(self):
        self.make_ca("ca", "--algorithm", "ed25519")
        before = {n: self.path(n).read_bytes() for n in ("ca.crt", "ca.key")}
        for kept, gone in (("ca.crt", "ca.key"), ("ca.key", "ca.crt")):
            self.path(gone).unlink()
            text = self.refused(
                "cert", "ca", "--common-name", "New", "--out-cert", "ca.crt", "--out-key", "ca.key"
            )
            self.assertIn("--force", text)
            self.assertIn(kept, text)
            self.assertEqual(sorted(os.listdir(self.dir)), [kept])
            self.assertEqual(self.path(kept).read_bytes(), before[kept])
            self.path(gone).write_bytes(before[gone])
        self.path("ca.key").chmod(0o666)
        self.make_ca("ca", "--algorithm", "ed25519", "--force")
        self.assertEqual(self.mode("ca.key"), 0o600)
        self.assertNotEqual(self.path("ca.key").read_bytes(), before["ca.key"])
        self.assertEqual(sorted(os.listdir(self.dir)), ["ca.crt", "ca.key"])

    def test_a_leaf_ends_with_its_ca_and_says_so(self):
        self.make_ca("ca", "--algorithm", "ed25519", "--days", "10")
        done = self.make("server", "dest.example", "--algorithm", "ed25519")
        self.assertIn("warning: a certificate cannot outlive its CA", done.stderr)
        self.assertRegex(self.utun("cert", "show", "dest.example.crt").stdout,
                         r"\((9|10) days left\)")

    def test_times_can_be_given(self):
        self.make_ca("ca", "--algorithm", "ed25519")
        self.make(
            "server",
            "old.example",
            "--not-before",
            "2020-01-01T00:00:00Z",
            "--not-after",
            "2021-02-03",
            "--algorithm",
            "ed25519",
        )
        shown = self.utun("cert", "show", "old.example.crt").stdout
        self.assertIn("2020-01-01 00:00:00 UTC", shown)
        self.assertRegex(shown, r"2021-02-03 00:00:00 UTC \(EXPIRED \d+ days ago\)")
        done = self.utun(
            "cert", "verify", "--cert", "old.example.crt", "--ca-cert", "ca.crt", expect=1
        )
        self.assertRegex(done.stdout, r"FAIL +validity +the certificate expired at 2021-02-03")
        self.assertRegex(done.stdout, r"ok +signature")
        later = (datetime.now(timezone.utc) + timedelta(days=30)).strftime("%Y-%m-%d")
        self.make("client", "soon.example", "--not-before", later, "--algorithm", "ed25519")
        self.assertIn("NOT VALID YET", self.utun("cert", "show", "soon.example.crt").stdout)

    def test_wrong_requests_are_usage_errors_and_write_nothing(self):
        self.make_ca("ca", "--algorithm", "ed25519")
        before = sorted(os.listdir(self.dir))
        cases = (
            (["--dns-names", "b\u00fccher.example"], "punycode"),
            (["--dns-names", "*.com"], "wildcard"),
            (["--dns-names", "a.*.com"], "leftmost"),
            (["--dns-names", "10.0.0.1"], "--ip-addresses"),
            (["--ip-addresses", "1.2.3"], "neither an IPv4 nor an IPv6"),
            (["--uri", "no-scheme"], "spiffe://"),
            (["--days", "0"], "from 1 to 36500"),
            (["--days", "ten"], "from 1 to 36500"),
            (["--algorithm", "rsa"], "ML-DSA-65"),
            (["--not-after", "tomorrow"], "2026-11-22"),
            (["--not-after", "2020-01-01"], "end before it begins"),
            (["--days", "3", "--not-after", "2030-01-01"], "one of them"),
        )
        for extra, wanted in cases:
            with self.subTest(extra):
                text = self.refused(*self.leaf("server", "x.example", *extra), status=2)
                self.assertIn(wanted, text)
        text = self.refused(*self.leaf("server", "not a host"), status=2)
        self.assertIn("--dns-names", text)
        self.assertIn("64 characters", self.refused(*self.leaf("client", "x" * 65), status=2))
        self.assertEqual(sorted(os.listdir(self.dir)), before)

    def test_a_ca_from_openssl_can_sign(self):
        for kind in (["rsa:2048"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]):
            with self.subTest(kind[0]):
                self.openssl(
                    "req",
                    "-x509",
                    "-newkey",
                    *kind,
                    "-nodes",
                    "-subj",
                    "/O=Elsewhere/CN=Root",
                    "-days",
                    "30",
                    "-keyout",
                    "ca.key",
                    "-out",
                    "ca.crt",
                    "-addext",
                    "keyUsage=critical,keyCertSign,cRLSign",
                )
                self.make("server", "dest.example", "--algorithm", "p256", "--days", "7", "--force")
                self.openssl(
                    "verify", "-CAfile", "ca.crt", "-purpose", "sslserver", "dest.example.crt"
                )
                done = self.utun(
                    "cert", "verify", "--cert", "dest.example.crt", "--ca-cert", "ca.crt"
                )
                self.assertIn("O=Elsewhere", done.stdout)

    def test_an_unfit_ca_is_refused(self):
        self.make_ca("ca", "--algorithm", "ed25519")
        self.make_ca("other", "--algorithm", "ed25519")
        self.make("server", "dest.example", "--algorithm", "ed25519")
        shutil.copy(self.path("other.key"), self.path("mixed.key"))
        shutil.copy(self.path("ca.crt"), self.path("mixed.crt"))
        self.assertIn("does not belong", self.refused(*self.leaf("client", "x", ca="mixed")))
        self.assertIn("not a CA", self.refused(*self.leaf("client", "x", ca="dest.example")))


class Verifying(Case):
    def setUp(self):
        super().setUp()
        self.make_ca("ca", "--algorithm", "p256")
        self.make("server", "dest.example", "--algorithm", "p256")
        self.make("client", "edge-1", "--algorithm", "p256")

    def verify(self, cert, *extra, ca="ca.crt", expect=1):
        done = self.utun("cert", "verify", "--cert", cert, "--ca-cert", ca, *extra, expect=expect)
        self.assertIn("NOT accepted" if expect else "passed", done.stdout)
        return done.stdout

    def test_each_fault_has_its_own_line(self):
        self.assertRegex(
            self.verify("dest.example.crt", "--hostname", "other.example"),
            r"FAIL +host name .*DNS:dest\.example.*--dns-names other\.example",
        )
        self.assertRegex(
            self.verify("dest.example.crt", "--purpose", "client"),
            r"FAIL +purpose .*utun cert client",
        )
        self.assertRegex(
            self.verify("edge-1.crt", "--purpose", "server"), r"FAIL +purpose .*utun cert server"
        )
        self.assertRegex(
            self.verify("dest.example.crt", "--key", "edge-1.key"), r"FAIL +key .*does not belong"
        )
        self.make_ca("other", "--algorithm", "p256", common_name="Other CA")
        self.assertRegex(
            self.verify("dest.example.crt", ca="other.crt"),
            r'FAIL +signature .*"CN=Test CA".*"CN=Other CA"',
        )
        self.make_ca("twin", "--algorithm", "p256")
        self.assertRegex(self.verify("dest.example.crt", ca="twin.crt"), r"FAIL +signature ")
        self.path("edge-1.key").chmod(0o644)
        self.assertRegex(
            self.verify("edge-1.crt", "--key", "edge-1.key"),
            r"FAIL +key .*mode 0644\); run: chmod 600 edge-1\.key",
        )

    def test_revocation_by_a_crl_of_openssl(self):
        self.path("index.txt").write_text("")
        self.path("ca.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncertificate=ca.crt\n"
            "private_key=ca.key\ndefault_md=sha256\ndefault_crl_days=3\n"
        )
        ca = ["ca", "-config", "ca.cnf", "-batch"]
        self.openssl(*ca, "-gencrl", "-out", "empty.crl")
        self.openssl(*ca, "-revoke", "edge-1.crt")
        self.openssl(*ca, "-gencrl", "-out", "one.crl")
        self.verify("edge-1.crt", "--crl", "empty.crl", expect=0)
        self.verify("dest.example.crt", "--crl", "one.crl", expect=0)
        self.assertRegex(
            self.verify("edge-1.crt", "--crl", "one.crl"), r"FAIL +revocation .*revoked"
        )

    def test_der_and_bundles(self):
        for name in ("ca", "dest.example"):
            self.openssl("x509", "-in", f"{name}.crt", "-outform", "DER", "-out", f"{name}.der")
        self.openssl(
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            "dest.example.key",
            "-outform",
            "DER",
            "-out",
            "key.der",
        )
        self.path("key.der").chmod(0o600)
        self.verify("dest.example.der", "--key", "key.der", ca="ca.der", expect=0)
        self.assertEqual(self.shown("ca.der"), self.shown("ca.crt"))
        bundle = self.path("ca.crt").read_text() + self.path("dest.example.crt").read_text()
        self.path("bundle.crt").write_text(bundle)
        shown = self.utun("cert", "show", "bundle.crt").stdout
        self.assertIn("certificate 2 of 2", shown)

    def test_an_intermediate_of_openssl(self):
        self.openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=Root",
            "-x509",
            "-days",
            "9",
            "-keyout",
            "root.key",
            "-out",
            "root.crt",
        )
        self.openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=Middle",
            "-keyout",
            "mid.key",
            "-out",
            "mid.csr",
        )
        self.path("ext").write_text(
            "basicConstraints=critical,CA:TRUE\n" "keyUsage=critical,keyCertSign,cRLSign\n"
        )
        self.openssl(
            "x509",
            "-req",
            "-in",
            "mid.csr",
            "-CA",
            "root.crt",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "8",
            "-extfile",
            "ext",
            "-out",
            "mid.crt",
        )
        self.make("server", "deep.example", "--algorithm", "p256", ca="mid")
        self.assertRegex(self.verify("deep.example.crt", ca="root.crt"), r"FAIL +signature ")
        chain = self.path("deep.example.crt").read_text() + self.path("mid.crt").read_text()
        self.path("chain.crt").write_text(chain)
        self.verify("chain.crt", ca="root.crt", expect=0)


class Revoking(Case):
    """utun cert crl, and what openssl makes of its lists."""

    def make_all(self, *algorithm):
        self.make_ca("ca", *algorithm, "--force")
        for name in ("edge-1", "edge-2"):
            self.make("client", name, *algorithm, "--force")

    def crl(self, *extra, ca="ca", out="ca.crl"):
        made = ["--ca-cert", f"{ca}.crt", "--ca-key", f"{ca}.key", "--out-crl", out]
        return ["cert", "crl", *made, *extra]

    def renew(self, *extra, ca="ca", out="ca.crl"):
        return self.utun(*self.crl(*extra, ca=ca, out=out)).stdout

    def check_revoked(self, revoked, *names, crl="ca.crl"):
        """By utun, of all these names only the revoked ones."""
        for name in names:
            done = self.utun(
                "cert", "verify", "--cert", f"{name}.crt", "--ca-cert", "ca.crt", "--crl", crl,
                expect=1 if name in revoked else 0,
            )  # fmt: skip
            wanted = r"FAIL +revocation .*revoked" if name in revoked else r"ok +revocation"
            self.assertRegex(done.stdout, wanted)

    def test_it_says_what_is_in_the_list_and_what_to_do(self):
        self.make_all()
        first = self.renew()
        for wanted in (
            r"CRL +ca\.crl\n",
            r"CA +CN=Test CA\n",
            r"CRL number +1 \(the first: no list was there\)\n",
            r"revoked +0 certificates\n",
            r"valid until +\S+ \S+ UTC \(30 days\)\n",
            "crl_path",
            "everybody is refused",
        ):
            self.assertRegex(first, wanted)
        second = self.renew("--revoke", "edge-1.crt", "--days", "1")
        self.assertRegex(second, r"CRL number +2\n +revoked +1 certificate, 1 of them now\n")
        self.assertRegex(second, r"valid until +\S+ \S+ UTC \(1 day\)\n")
        third = self.renew("--revoke=edge-1.crt", "--revoke=edge-2.crt", "--revoke-serial", "0a:0B")
        self.assertIn("3 certificates, 2 of them now; 1 of those given had been before", third)
        shown = self.utun("cert", "show", "ca.crl").stdout
        for wanted in (
            r"issuer +CN=Test CA\n",
            r"CRL number +3\n",
            r"valid until +\S+ \S+ UTC \((29|30) days left\)\n",
            r"signed with +ML-DSA-65\n",
            r"kind +CRL\n",
            r"revoked +3\n",
            r"\n +0A:0B  since \d{4}-",
        ):
            self.assertRegex(shown, wanted)
        self.assertNotIn("BEGIN", first + second + third)

    def check_openssl_reads_it(self):
        self.openssl("crl", "-in", "ca.crl", "-noout", "-CAfile", "ca.crt", "-verify")
        text = self.openssl("crl", "-in", "ca.crl", "-noout", "-text")
        serial = self.openssl("x509", "-in", "edge-1.crt", "-noout", "-serial").strip()
        key_id = re.search(
            r"Subject Key Identifier: *\n? *(\S+)",
            self.openssl("x509", "-in", "ca.crt", "-noout", "-text"),
        ).group(1)
        self.assertIn("Version 2", text)
        self.assertRegex(text, r"CRL Number: *\n +2\n")
        self.assertRegex(text, rf"Authority Key Identifier: *\n +(keyid:)?{key_id}\n")
        self.assertRegex(text, rf"Serial Number: {serial.split('=')[1]}\n")
        self.assertEqual(text.count("Serial Number:"), 1)
        checked = ["verify", "-crl_check", "-x509_strict", "-CAfile", "ca.crt"]
        self.openssl(*checked, "-CRLfile", "ca.crl", "edge-2.crt")
        self.openssl(*checked, "-CRLfile", "ca.crl", "edge-1.crt", expect=2)

    def test_every_algorithm_revokes(self):
        for algorithm in ALGORITHMS:
            with self.subTest(algorithm):
                self.path("ca.crl").unlink(missing_ok=True)
                self.make_all("--algorithm", algorithm)
                self.renew()
                self.check_revoked([], "edge-1", "edge-2")
                self.renew("--revoke", "edge-1.crt")
                self.check_revoked(["edge-1"], "edge-1", "edge-2")
                self.assertEqual(self.mode("ca.crl"), 0o644)
                if algorithm in OPENSSL_KNOWS:
                    self.check_openssl_reads_it()

    def test_a_list_of_openssl_is_gone_on_with(self):
        """An RSA CA from elsewhere, whose list was kept by openssl so far, with a reason in it."""
        self.openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=Elsewhere/CN=Root",
            "-days", "30", "-keyout", "ca.key", "-out", "ca.crt",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        for name in ("edge-1", "edge-2"):
            self.make("client", name, "--algorithm", "p256", "--days", "7")
        self.path("index.txt").write_text("")
        self.path("number").write_text("0F\n")
        self.path("ca.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncertificate=ca.crt\ncrlnumber=number\n"
            "private_key=ca.key\ndefault_md=sha256\ndefault_crl_days=3\n"
        )
        ca = ["ca", "-config", "ca.cnf", "-batch"]
        self.openssl(*ca, "-revoke", "edge-1.crt", "-crl_reason", "keyCompromise")
        self.openssl(*ca, "-gencrl", "-out", "ca.crl")
        before = self.openssl("crl", "-in", "ca.crl", "-noout", "-text")
        self.assertIn("CRL number   16\n", self.renew("--revoke", "edge-2.crt"))
        self.check_revoked(["edge-1", "edge-2"], "edge-1", "edge-2")
        self.openssl("crl", "-in", "ca.crl", "-noout", "-CAfile", "ca.crt", "-verify")
        after = self.openssl("crl", "-in", "ca.crl", "-noout", "-text")
        self.assertIn("Key Compromise", after)
        for line in before.splitlines():
            if "Serial Number:" in line or "Revocation Date:" in line:
                self.assertIn(line, after)

    def test_what_may_not_be_gone_on_with_stays_as_it_is(self):
        self.make_all("--algorithm", "ed25519")
        self.make_ca("other", "--algorithm", "ed25519", common_name="Other CA")
        self.make("client", "foreign", "--algorithm", "ed25519", ca="other")
        self.renew("--revoke", "edge-1.crt")
        self.renew(ca="other", out="other.crl")
        self.path("cut.crl").write_bytes(self.path("ca.crl").read_bytes()[:-40])
        self.path("both.crl").write_bytes(self.path("ca.crl").read_bytes() * 2)
        before = {name: self.path(name).read_bytes() for name in os.listdir(self.dir)}
        for extra, out, wanted in (
            ([], "other.crl", r'CRL \S*other\.crl: is of the CA "CN=Other CA"'),
            ([], "cut.crl", r"CRL \S*cut\.crl: PEM block 1 is cut off or damaged"),
            ([], "both.crl", r"CRL \S*both\.crl: holds 2 lists"),
            ([], "ca.crt", r"CRL \S*ca\.crt: holds .* but no CRL"),
            ([], "gone/ca.crl", r"run: mkdir -p gone"),
            (["--revoke", "foreign.crt"], "ca.crl",
             r'certificate foreign\.crt: was issued by "CN=Other CA", so "CN=Test CA" cannot'),
            (["--revoke", "none.crt"], "ca.crl", r"certificate none\.crt: no such file"),
        ):  # fmt: skip
            with self.subTest(out=out, extra=extra):
                self.assertRegex(self.refused(*self.crl(*extra, out=out)), wanted)
        for extra, wanted in (
            (["--revoke", "ca.crt"], "itself cannot be revoked"),
            (["--revoke-serial", "0x12"], "1 to 40 hexadecimal digits"),
            (["--revoke-serial", "1" * 41], "1 to 40 hexadecimal digits"),
            (["--days", "0"], "from 1 to 3650"),
            (["--days", "3651"], "from 1 to 3650"),
            (["--revok", "edge-1.crt"], "did you mean --revoke?"),
        ):
            with self.subTest(extra=extra):
                self.assertIn(wanted, self.refused(*self.crl(*extra), status=2))
        self.assertIn("--out-crl FILE is missing", self.refused(*self.crl()[:-2], status=2))
        self.assertEqual(
            {name: self.path(name).read_bytes() for name in os.listdir(self.dir)}, before
        )

    def test_an_open_ca_key_is_refused(self):
        self.make_ca()
        self.path("ca.key").chmod(0o644)
        self.assertIn("run: chmod 600 ca.key", self.refused(*self.crl()))
        self.assertFalse(self.path("ca.crl").exists())

    def test_folders_that_cannot_be_written(self):
        self.make_all("--algorithm", "ed25519")
        self.path("fixed").mkdir()
        self.renew(out="fixed/ca.crl")
        before = self.path("fixed/ca.crl").read_bytes()
        self.path("fixed").chmod(0o555)
        if os.geteuid() == 0:
            os.chown(self.path("ca.key"), pwd.getpwnam("nobody").pw_uid, -1)
        text, user = self.as_stranger(*self.crl("--revoke", "edge-1.crt", out="fixed/ca.crl"))
        self.assertRegex(text, rf"user {user} may not create files in \S*fixed ")
        self.assertEqual(os.listdir(self.path("fixed")), ["ca.crl"])
        self.assertEqual(self.path("fixed/ca.crl").read_bytes(), before)

    def test_show_takes_der_and_files_with_both(self):
        self.make_all("--algorithm", "p256")
        self.renew("--revoke", "edge-1.crt")
        self.openssl("crl", "-in", "ca.crl", "-outform", "DER", "-out", "der.crl")
        self.assertEqual(self.shown("der.crl"), self.shown("ca.crl"))
        both = self.path("ca.crl").read_bytes() + self.path("ca.crt").read_bytes()
        self.path("both").write_bytes(both)
        shown = self.utun("cert", "show", "both").stdout
        self.assertIn("both, certificate 1 of 1\n", shown)
        self.assertIn("\nboth, CRL 1 of 1\n", shown)
        self.assertRegex(shown, r"revoked +1\n")


class Files(Case):
    def setUp(self):
        super().setUp()
        self.make_ca("ca", "--algorithm", "ed25519")

    def test_what_is_not_a_certificate(self):
        self.path("empty").write_text("")
        self.path("garbage").write_bytes(b"\x30\x82\x01\x00garbage")
        self.path("cut").write_bytes(self.path("ca.crt").read_bytes()[:-60])
        self.path("huge").write_bytes(b"x" * (1024 * 1024 + 1))
        self.path("folder").mkdir()
        for name, wanted in (
            ("empty", "is empty"),
            ("garbage", "neither PEM nor DER"),
            ("cut", "cut off or damaged"),
            ("huge", "more than the 1048576"),
            ("folder", "is a folder"),
            ("ca.key", "PRIVATE KEY"),
            ("none", "no such file"),
            ("no/such", "folder no does not exist"),
            ("/dev/zero", "not a regular file"),
        ):
            with self.subTest(name):
                text = self.refused("cert", "show", name)
                self.assertIn(wanted, text)
                self.assertIn(f"certificate {name}: ", text)

    def test_an_open_key_is_named_with_owner_mode_and_cure(self):
        self.path("ca.key").chmod(0o640)
        owner = pwd.getpwuid(self.path("ca.key").stat().st_uid).pw_name
        text = self.refused(*self.leaf("client", "edge-1"))
        self.assertRegex(
            text,
            rf"ca\.key: open to its group \(owner {owner}:\S+, mode 0640\); "
            r"run: chmod 600 ca\.key",
        )
        # The cure is a command that works as it is printed.
        cure = re.search(r"run: (.*)$", text).group(1)
        subprocess.run(cure, shell=True, cwd=self.dir, check=True)
        self.utun(*self.leaf("client", "edge-1"))

    def test_unreadable_files_name_owner_mode_and_cure(self):
        shutil.copy(self.path("ca.crt"), self.path("shut.crt"))
        self.path("shut.crt").chmod(0)
        text, user = self.as_stranger("cert", "show", "shut.crt")
        self.assertRegex(
            text,
            rf"user {user} may not read it \(owner \S+, mode 0000\); " r"run: chmod a\+r shut\.crt",
        )
        self.path("ca.key").chmod(0)
        text, user = self.as_stranger(*self.leaf("client", "edge-1"))
        self.assertIn(f"run: chown {user} ca.key", text)
        self.path("vault").mkdir()
        shutil.copy(self.path("ca.crt"), self.path("vault/ca.crt"))
        self.path("vault").chmod(0)
        self.addCleanup(self.path("vault").chmod, 0o700)
        text, user = self.as_stranger("cert", "show", "vault/ca.crt")
        self.assertRegex(
            text,
            rf"user {user} may not enter the folder vault \(owner \S+, mode "
            r"0000\); run: chmod a\+x vault",
        )

    def test_folders_that_cannot_be_written(self):
        args = ["cert", "ca", "--common-name", "x", "--out-key", "x.key"]
        text = self.refused(*args, "--out-cert", "gone/x.crt")
        self.assertIn("run: mkdir -p gone", text)
        self.path("fixed").mkdir(mode=0o555)
        text, user = self.as_stranger(
            "cert",
            "ca",
            "--common-name",
            "x",
            "--out-key",
            "fixed/x.key",
            "--out-cert",
            "fixed/x.crt",
        )
        self.assertIn(f"user {user} may not create files in fixed", text)
        self.assertFalse(self.path("x.key").exists())


class CommandLine(Case):
    def test_help_everywhere(self):
        for args in (
            [],
            ["cert"],
            ["version"],
            *(["cert", a] for a in ("ca", "server", "client", "crl", "show", "verify")),
        ):
            for word in ("--help", "-h"):
                with self.subTest([*args, word]):
                    done = self.utun(*args, word)
                    self.assertIn("Usage: utun", done.stdout)
                    self.assertEqual(done.stderr, "")

    def test_versions(self):
        self.assertRegex(self.utun("--version").stdout, r"^utun \d+\.\d+\.\d+\n$")
        self.assertRegex(self.utun("version").stdout, r"(?s)OpenSSL +3\..*libmceliece")

    def test_slips_are_answered_with_the_nearest_word(self):
        for args, wanted in (
            (["vresion"], "did you mean version?"),
            (["cert", "sevrer"], "did you mean server?"),
            (["cert", "ca", "--comon-name", "x"], "did you mean --common-name?"),
            (["--log-levle", "info", "version"], "did you mean --log-level?"),
            (["--log-level", "debgu", "version"], "did you mean debug?"),
            (["version", "--log-format", "xml"], "json, plain"),
            (["qqqqqq"], "utun --help"),
            (["cert", "ca", "--qqqqqqqq"], "utun cert ca --help"),
            (["cert", "show"], "FILE is missing"),
            (["cert", "show", "a", "b"], 'unexpected argument "b"'),
            (["cert", "ca", "--common-name"], "--common-name needs a value"),
            (["cert", "ca", "--common-name", "--force"], "needs a value"),
            (["cert", "ca", "--force=yes"], "takes no value"),
            (["cert", "ca"], "--common-name NAME is missing"),
            (["version", "--config"], "--config needs a value"),
            (["cert"], "no action"),
            ([], "no command"),
        ):
            with self.subTest(args):
                self.assertIn(wanted, self.refused(*args, status=2))

    def test_global_options_stand_anywhere(self):
        for args in (
            ["-c", "x", "version"],
            ["version", "-c", "x"],
            ["version", "-cx"],
            ["--config=x", "version", "--log-level", "debug", "--log-format=plain"],
        ):
            self.utun(*args)
        self.utun(
            "--log-level",
            "warn",
            "cert",
            "-c",
            "x",
            "ca",
            "--common-name=x",
            "--log-format",
            "json",
            "--out-cert=x.crt",
            "--out-key=x.key",
            "--algorithm=ed25519",
        )

    def test_a_lost_output_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [UTUN, "version"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write the output", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
