#!/usr/bin/env python3
"""The Debian package: what is in it, what lintian says, and (in the long form, as root) its life under
a real systemd: installed, started by its own units with their own sandbox, used, and purged."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from harness.process import program, run, wait_until
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import binary

ROOT = Path(__file__).resolve().parents[2]

WANTED = {
    "usr/bin/utun",
    "usr/lib/systemd/system/utun-source.service",
    "usr/lib/systemd/system/utun-dest.service",
    "usr/lib/sysusers.d/utun.conf",
    "usr/share/man/man1/utun.1.gz",
    "usr/share/man/man1/utun-source.1.gz",
    "usr/share/man/man5/utun.toml.5.gz",
    "usr/share/bash-completion/completions/utun",
    "usr/share/zsh/vendor-completions/_utun",
    "usr/share/fish/vendor_completions.d/utun.fish",
    "usr/share/doc/utun/copyright",
    "usr/share/doc/utun/changelog.gz",
    "usr/share/doc/utun/changelog.Debian.gz",
    "usr/share/doc/utun/examples/config-dest.toml",
    "usr/share/doc/utun/prometheus/utun.rules.yml",
}


class Package:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "deb"
        self.path = Path()

    def build(self) -> str:
        made = run([ROOT / "tools" / "make-deb", binary().parent, self.folder], seconds=120).stdout
        self.path = Path(made.strip())
        check(self.path.is_file(), f"it printed {made!r}")
        return f"{self.path.name}, {self.path.stat().st_size // 1024} KiB"

    def build_again(self) -> None:
        again = run([ROOT / "tools" / "make-deb", binary().parent, self.folder / "again"], seconds=120).stdout
        check_equal(Path(again.strip()).read_bytes() == self.path.read_bytes(), True, "the same bytes")

    def contents(self) -> str:
        rows = run(["dpkg-deb", "-c", self.path]).stdout.splitlines()
        modes = {row.split()[5].removeprefix("./"): (row.split()[0], row.split()[1]) for row in rows}
        missing = WANTED - set(modes)
        check(not missing, f"missing: {missing}")
        check_equal(modes["etc/utun/"][0], "drwxr-x---", "mode of /etc/utun")
        for name, (mode, owner) in modes.items():
            check_equal(owner, "root/root", f"owner of {name}")
            check(name.startswith(("usr/", "etc/utun/")) or name in ("", "etc/"), f"{name} does not belong there")
            check("w" not in mode[4:], f"{name} may be written by others")
        return f"{len(modes)} files and folders"

    def unpacked(self) -> str:
        """The program runs from the package, and its units name it."""
        out = self.folder / "unpacked"
        run(["dpkg-deb", "-x", self.path, out])
        version = run([out / "usr/bin/utun", "--version"]).stdout.split()[1]
        check(self.path.name.startswith(f"utun_{version}-"), f"{self.path.name} holds {version}")
        for role in ("source", "dest"):
            text = (out / f"usr/lib/systemd/system/utun-{role}.service").read_text()
            check(f"ExecStart=/usr/bin/utun {role} " in text, f"ExecStart of {role}")
        depends = run(["dpkg-deb", "-f", self.path, "Depends"]).stdout
        check(re.search(r"\blibuv1 \(>=", depends) and "adduser" in depends, f"Depends: {depends}")
        return f"utun {version}"

    def lintian(self) -> None:
        """Debian 12's decides; of a later one, which knows new rules, only errors count."""
        decides = "v2.116." in run(["lintian", "--version"]).stdout
        said = run(["lintian", "--no-cfg", "--allow-root", "--tag-display-limit", "0", self.path], seconds=120, status=None)
        wrong = [line for line in said.stdout.splitlines() if decides or line.startswith("E:")]
        check_equal(wrong, [], "what lintian says")


# -- under systemd

# Ports below 1024, and files where, and as whose, the READMEs of the kit say.
KIT = r"""
utun init --dest-host localhost --tunnel-port 443 --service web:80:127.0.0.1:8000 --out /root/kit
cd /root/kit
printf '\n[metrics]\nmetrics_port = 9191\n' >>source/config.toml
systemctl start systemd-journald
for role in dest source; do
    (cd $role; sh -euc "$(sed -n 's/^With systemd, as root, whose own the files then are: //p' README)")
done
"""
FETCH = "curl -sf -m 10 http://127.0.0.1/README.md -o /tmp/got && cmp /tmp/got /usr/share/doc/utun/README.md"
AS_UTUN = "setpriv --reuid=utun --regid=utun --init-groups"
ROLES = {"dest": "server", "source": "client"}


def life_under_systemd(package: Package, folder: Path) -> str:
    from harness.machine import Machine

    with Machine(folder, package.path.parent) as machine:
        before = machine.run(LISTING).stdout
        machine.run(f"dpkg -i /tmp/files/{package.path.name}")
        account = machine.run("getent passwd utun").stdout
        check(account.strip().endswith(":/nonexistent:/usr/sbin/nologin"), f"the account: {account}")
        check_equal(machine.run("stat -c '%U:%G %a' /etc/utun").stdout.strip(), "root:utun 750", "/etc/utun")
        check_equal(machine.run("systemctl is-enabled utun-dest", None).stdout.strip(), "disabled", "utun-dest")
        machine.run(KIT)
        check_equal(machine.run("systemctl is-active utun-dest utun-source").stdout.split(), ["active"] * 2, "the units")
        machine.run("systemd-run --quiet --unit=web -p WorkingDirectory=/usr/share/doc/utun python3 -m http.server -b 127.0.0.1 8000")
        carries(machine, 20)
        wait_until(
            lambda: "healthy" in machine.run("systemctl show -p StatusText utun-source").stdout, 20, "STATUS"
        )
        said = [what_it_may(machine, role) for role in ROLES]
        keys_are_roots(machine)
        priorities(machine)
        renewals(machine)
        reloads(machine)
        revokes(machine)
        users(machine)
        unix_socket(machine)
        one_account(machine)
        key_of_the_account(machine)
        carries(machine, 30)
        watchdog(machine)
        machine.run("systemctl enable --quiet utun-source; systemctl stop web; dpkg -r utun", seconds=90)
        check(machine.run("pgrep -x utun", None).returncode != 0, "utun runs although it is removed")
        machine.run("rm -r /etc/utun/source /etc/utun/dest /etc/systemd/system/utun-*.service.d /root/kit; dpkg -P utun")
        check_equal(machine.run("getent passwd utun", None).returncode, 2, "whether the account has gone")
        left = set(machine.run(LISTING).stdout.splitlines()) - set(before.splitlines())
        check_equal({path for path in left if "utun" in path}, set(), "left behind")
    return said[0]


def carries(machine, seconds: float) -> None:  # noqa: ANN001
    wait_until(lambda: machine.run(FETCH, None).returncode == 0, seconds, "the tunnel")


LISTING = f"find / -xdev -not -path '/proc/*' -not -path '{ROOT}/*' -not -path '/tmp/*' -name '*utun*' 2>/dev/null || true"


def main_process(machine, role: str) -> str:  # noqa: ANN001
    return machine.run(f"systemctl show -p MainPID --value utun-{role}").stdout.strip()


def seen_by_the_kernel(machine, pid: str) -> dict[str, str]:  # noqa: ANN001
    lines = machine.run(f"cat /proc/{pid}/status").stdout.splitlines()
    return {key: text.strip() for key, _, text in (line.partition(":") for line in lines)}


def what_it_may(machine, role: str) -> str:  # noqa: ANN001
    """The process that talks to others is the account's, the signer is root's; neither has a right left."""
    main = main_process(machine, role)
    account = machine.run("id -u utun; id -g utun; id -G utun").stdout.splitlines()
    signer = machine.run(f"pgrep -P {main}").stdout.split()
    check_equal(len(signer), 1, f"children of the {role}")
    said = []
    for pid, name, uid, gid in ((main, "utun", account[0], account[1]), (signer[0], "utun-signer", "0", "0")):
        value = seen_by_the_kernel(machine, pid)
        who = f"{name} of the {role}"
        check_equal(value["Name"], name, f"name of {who}")
        check_equal(set(value["Uid"].split()), {uid}, f"Uid of {who}")
        check_equal(set(value["Gid"].split()), {gid}, f"Gid of {who}")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            check_equal(int(value[kind], 16), 0, f"{kind} of {who}")
        check_equal(value["NoNewPrivs"], "1", f"NoNewPrivs of {who}")
        check_equal(value["Seccomp"], "2", f"Seccomp of {who}")
        said.append(f"{name} is {uid}, CapEff {value['CapEff']}, CapBnd {value['CapBnd']}")
    check_equal(seen_by_the_kernel(machine, main)["Groups"].split(), account[2].split(), f"groups of the {role}")
    line = logged(machine, role, "sandbox.ready")[-1]
    check_equal({line[part] for part in ("user", "capabilities", "seccomp", "no_new_privs", "signer")}, {"on"},
                f"parts of the sandbox: {line}")
    return "; ".join(said)


def keys_are_roots(machine) -> None:  # noqa: ANN001
    """The account reads the certificate that lies beside the key, and not the key."""
    for role, name in ROLES.items():
        path = f"/etc/utun/{role}/{name}"
        check_equal(machine.run(f"stat -c '%U:%G %a' {path}.key").stdout.strip(), "root:root 600", f"{path}.key")
        machine.run(f"{AS_UTUN} cat {path}.crt >/dev/null")
        looked = machine.run(f"{AS_UTUN} cat {path}.key", None)
        check(looked.returncode != 0 and looked.stdout == "", f"the account utun has read {path}.key")
        check("Permission denied" in looked.stderr, looked.stderr)


def logged(machine, role: str, event: str) -> list[dict]:  # noqa: ANN001
    rows = machine.run(f"journalctl -u utun-{role} -o cat --no-pager").stdout.splitlines()
    lines = [json.loads(row) for row in rows if row.startswith("{")]
    return [line for line in lines if line["event"] == event]


def next_line(machine, role: str, event: str, before: int, seconds: float = 30) -> dict:  # noqa: ANN001
    """The first line of that event after so many."""
    wait_until(lambda: len(logged(machine, role, event)) > before, seconds, f"{event} of the {role}")
    return logged(machine, role, event)[before]


def reloads(machine) -> None:  # noqa: ANN001
    for role in ROLES:
        main = main_process(machine, role)
        before = len(logged(machine, role, "config.reloaded"))
        machine.run(f"systemctl reload utun-{role}")
        check_equal(next_line(machine, role, "config.reloaded", before)["trigger"], "signal", f"reload of the {role}")
        check_equal(main_process(machine, role), main, f"process of the {role}")


def renewals(machine) -> None:  # noqa: ANN001
    """Another key and its certificate, copied over the old ones: used, without a restart."""
    ca = "--ca-cert /root/kit/ca/ca.crt --ca-key /root/kit/ca/ca.key"
    names = {"dest": "server --common-name dest --dns-names localhost", "source": "client --common-name source"}
    for role, name in ROLES.items():
        carries(machine, 20)  # so both have looked at the old ones
        main = main_process(machine, role)
        before = len(logged(machine, role, "identity.reloaded"))
        sessions = len(logged(machine, "source", "session.up"))
        machine.run(f"mkdir /root/new; cd /root/new; utun cert {names[role]} {ca} --out-cert {name}.crt --out-key {name}.key")
        machine.run(f"cp /root/new/{name}.key /root/new/{name}.crt /etc/utun/{role}/; rm -r /root/new")
        line = next_line(machine, role, "identity.reloaded", before)
        if role == "dest":  # whose new key signs in the next session
            machine.run("systemctl restart utun-source")
        shown = machine.run(f"utun cert show /etc/utun/{role}/{name}.crt").stdout
        check(line["fingerprint"].replace(":", "").lower() in shown.replace(":", "").lower(), f"{line} is not {shown}")
        next_line(machine, "source", "session.up", sessions)
        carries(machine, 20)
        check_equal(main_process(machine, role), main, f"process of the {role}")
    keys_are_roots(machine)


def revokes(machine) -> None:  # noqa: ANN001
    """A CRL of root's that comes by a reload, and one that revokes the source, in its place."""
    crl = "utun cert crl --ca-cert /root/kit/ca/ca.crt --ca-key /root/kit/ca/ca.key --out-crl /etc/utun/dest/crl.pem"
    before = len(logged(machine, "dest", "config.reloaded"))
    machine.run(f"cp -r /etc/utun /root/before; {crl}; echo 'crl_path = \"crl.pem\"' >>/etc/utun/dest/config.toml; "
                "systemctl reload utun-dest")
    next_line(machine, "dest", "config.reloaded", before)
    carries(machine, 20)
    machine.run(f"{crl} --revoke /etc/utun/source/client.crt")
    wait_until(lambda: "cert_revoked" in machine.run("journalctl -u utun-dest -o cat --no-pager").stdout, 30,
               "the source to be shut out")
    check(machine.run(FETCH, None).returncode != 0, "a source that is revoked is served")
    machine.run("cp /root/before/dest/config.toml /etc/utun/dest/; rm -r /root/before; systemctl restart utun-dest utun-source")
    carries(machine, 30)


def users(machine) -> None:  # noqa: ANN001
    """A list that root shares with the account's group is read at a reload, and when it changes."""
    path, config = "/etc/utun/source/users", "/etc/utun/source/config.toml"
    come = "curl -sf -px http://{}@127.0.0.1:1080 http://web:80/README.md -o /dev/null"
    machine.run(f"umask 027; echo u:first >{path}; chown root:utun {path}")
    before = len(logged(machine, "source", "config.reloaded"))
    machine.run(f"sed 's/^\\[source\\]/&\\nmode = \"hybrid\"\\nlisten_port = 1080\\nproxy_users_path = \"users\"/' {config} "
                f">{config}.new; mv {config}.new {config}; systemctl reload utun-source")
    next_line(machine, "source", "config.reloaded", before)
    machine.run(come.format("u:first"))
    machine.run(f"echo u:second >{path}")
    wait_until(lambda: machine.run(come.format("u:second"), None).returncode == 0, 20, "the second list")
    check(machine.run(come.format("u:first"), None).returncode != 0, "who is in no list is served")
    machine.run("systemctl restart utun-source")
    wait_until(lambda: machine.run(come.format("u:second"), None).returncode == 0, 20, "the list after a restart")
    machine.run(f"chown utun: {path}; chmod 600 {path}; systemctl stop utun-source")
    check(machine.run("systemctl start utun-source", None).returncode != 0, "root reads a file of others")
    mend(machine, "source", f"chown root:utun {path} && chmod 640 {path}")
    wait_until(lambda: machine.run(come.format("u:second"), None).returncode == 0, 20, "the list of root's")


UNIX = """
mkdir -p /run/systemd/system/utun-source.service.d
printf '[Service]\\nRuntimeDirectory=utun\\nCapabilityBoundingSet=CAP_CHOWN\\nSystemCallFilter=@chown\\n' \
    >/run/systemd/system/utun-source.service.d/test.conf
cp /etc/utun/source/config.toml /root/before.toml
printf '\\n[[source.exposed_ports]]\\nport = 80\\nlisten_path = "/run/utun/web.sock"\\n' >>/etc/utun/source/config.toml
systemctl daemon-reload
systemctl restart utun-source
"""


def unix_socket(machine) -> None:  # noqa: ANN001
    """As docs/CONFIGURATION.md has it: a folder, and the right to give the socket to the account."""
    machine.run(UNIX)
    check_equal(machine.run("stat -c '%U:%G %a' /run/utun/web.sock").stdout.strip(), "utun:utun 600", "the socket")
    come = f"{AS_UTUN} curl -sf --unix-socket /run/utun/web.sock http://web/README.md"
    wait_until(lambda: machine.run(f"{come} >/dev/null", None).returncode == 0, 20, "the tunnel behind the socket")
    what_it_may(machine, "source")
    machine.run("systemctl stop utun-source; rm -r /run/systemd/system/utun-source.service.d; systemctl daemon-reload")
    check(machine.run("test -e /run/utun", None).returncode != 0, "the socket's folder is still there")
    machine.run("cp /root/before.toml /etc/utun/source/config.toml; systemctl start utun-source")


ONE_ACCOUNT = """
mkdir -p /run/systemd/system/utun-dest.service.d
printf '[Service]\\nUser=utun\\nAmbientCapabilities=CAP_NET_BIND_SERVICE\\n' \\
    >/run/systemd/system/utun-dest.service.d/test.conf
chown utun: /etc/utun/dest/server.key
systemctl daemon-reload
systemctl restart utun-dest
"""


def one_account(machine) -> None:  # noqa: ANN001
    """The other drop-in there: all of utun as the account, with a key of its own."""
    machine.run(ONE_ACCOUNT)
    carries(machine, 30)
    account = machine.run("id -u utun").stdout.strip()
    owners = machine.run(f"ps -o uid= -p $(pgrep -P {main_process(machine, 'dest')}),{main_process(machine, 'dest')}")
    check_equal(set(owners.stdout.split()), {account}, "accounts of the dest's processes")
    machine.run("rm -r /run/systemd/system/utun-dest.service.d; systemctl daemon-reload; chown root: /etc/utun/dest/server.key; "
                "systemctl restart utun-dest")
    what_it_may(machine, "dest")


def mend(machine, role: str, cure: str) -> None:  # noqa: ANN001
    """It has not started, and says what to do; that is done, and it starts."""
    rows = machine.run(f"journalctl -u utun-{role} -o cat --no-pager").stdout.splitlines()
    said = [row for row in rows if "; run: " in row][-1]
    check("user root, here without rights to others' files, may not read it" in said, said)
    check(f"run: {cure}" in said, said)
    machine.run(f"{cure}; systemctl reset-failed utun-{role} || true; systemctl restart utun-{role}")


def key_of_the_account(machine) -> None:  # noqa: ANN001
    key = "/etc/utun/dest/server.key"
    machine.run(f"chown utun: {key}; systemctl stop utun-dest")
    check(machine.run("systemctl start utun-dest", None).returncode != 0, "root reads a key of others")
    mend(machine, "dest", f"chown root {key}")


def priorities(machine) -> None:  # noqa: ANN001
    """The journal has taken the levels from the lines' prefixes."""
    rows = machine.run("journalctl -u utun-dest -o json --output-fields=PRIORITY,MESSAGE --no-pager").stdout
    check('"PRIORITY":"6"' in rows, "no line has the priority of info")
    check("<6>" not in rows, "the prefix stands in the message")


def watchdog(machine) -> None:  # noqa: ANN001
    """A dest that hangs is ended and started again."""
    machine.run("mkdir -p /run/systemd/system/utun-dest.service.d; printf '[Service]\\nWatchdogSec=2\\n' "
                ">/run/systemd/system/utun-dest.service.d/test.conf; systemctl daemon-reload; systemctl restart utun-dest")
    before = machine.run("systemctl show -p MainPID --value utun-dest").stdout.strip()
    machine.run("sleep 5; systemctl is-active utun-dest")
    check_equal(machine.run("systemctl show -p MainPID --value utun-dest").stdout.strip(), before, "its process")
    machine.run(f"kill -STOP {before}")
    wait_until(
        lambda: machine.run("systemctl is-active utun-dest", None).stdout.strip() == "active"
        and machine.run("systemctl show -p MainPID --value utun-dest").stdout.strip() not in (before, "0"),
        60, "a new process in place of one that hangs",
    )
    machine.run("rm -r /run/systemd/system/utun-dest.service.d; systemctl daemon-reload")


def main() -> int:
    with Suite("debian_package") as suite:
        package = Package(suite.folder)
        suite.run("it is built", package.build)
        suite.run("twice the same", package.build_again)
        suite.run("what is in it", package.contents)
        suite.run("it works unpacked", package.unpacked)
        suite.run("lintian has nothing to say", package.lintian)
        if LONG:
            check_equal(os.geteuid(), 0, "the long form installs packages, as root; the account")
            check(program("systemctl"), "systemd is not installed")
            suite.run("installed, used and purged under systemd", life_under_systemd, package, suite.folder)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
