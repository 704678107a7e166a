#!/usr/bin/env python3
"""The Debian package: what is in it, what lintian says, and (in the long form, as root) its life under
a real systemd: installed, started by its own units with their own sandbox, used, and purged."""

from __future__ import annotations

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

KIT = r"""
utun init --dest-host localhost --service web:8080:127.0.0.1:8000 --out /root/kit
cd /root
for role in dest source; do
    cp -r kit/$role /etc/utun/$role
    chown -R utun: /etc/utun/$role
    install -D -m 644 kit/$role/utun-$role.conf /etc/systemd/system/utun-$role.service.d/utun.conf
done
printf '\n[metrics]\nmetrics_port = 9191\n' >>/etc/utun/source/config.toml
systemctl daemon-reload
"""


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
        machine.run("systemctl start systemd-journald; systemctl start utun-dest utun-source")
        check_equal(machine.run("systemctl is-active utun-dest utun-source").stdout.split(), ["active"] * 2, "the units")
        machine.run("systemd-run --quiet --unit=web -p WorkingDirectory=/usr/share/doc/utun python3 -m http.server -b 127.0.0.1 8000")
        wait_until(lambda: machine.run("curl -sf http://127.0.0.1:8080/README.md -o /tmp/got", None).returncode == 0, 20, "the tunnel")
        machine.run("cmp /tmp/got /usr/share/doc/utun/README.md")
        wait_until(
            lambda: "healthy" in machine.run("systemctl show -p StatusText utun-source").stdout, 20, "STATUS"
        )
        seccomp, caps = what_it_may(machine)
        priorities(machine)
        machine.run("systemctl restart utun-dest")
        wait_until(lambda: machine.run("curl -sf http://127.0.0.1:8080/README.md -o /tmp/got", None).returncode == 0, 30, "the tunnel again")
        watchdog(machine)
        machine.run("systemctl enable --quiet utun-source; systemctl stop web; dpkg -r utun", seconds=90)
        check(machine.run("pgrep -x utun", None).returncode != 0, "utun runs although it is removed")
        machine.run("rm -r /etc/utun/source /etc/utun/dest /etc/systemd/system/utun-*.service.d /root/kit; dpkg -P utun")
        check_equal(machine.run("getent passwd utun", None).returncode, 2, "whether the account has gone")
        left = set(machine.run(LISTING).stdout.splitlines()) - set(before.splitlines())
        check_equal({path for path in left if "utun" in path}, set(), "left behind")
    return f"seccomp {seccomp}, capabilities {caps}"


LISTING = f"find / -xdev -not -path '/proc/*' -not -path '{ROOT}/*' -not -path '/tmp/*' -name '*utun*' 2>/dev/null || true"


def what_it_may(machine) -> tuple[str, str]:  # noqa: ANN001
    status = machine.run("cat /proc/$(systemctl show -p MainPID --value utun-dest)/status").stdout
    value = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    check(value["Uid"].split()[0] != "0", "it runs as root")
    check_equal(value["NoNewPrivs"], "1", "NoNewPrivs")
    check_equal(value["Seccomp"], "2", "Seccomp")
    check(int(value["CapBnd"], 16) in (0, 1 << 10), f"capabilities: {value['CapBnd']}")
    return value["Seccomp_filters"], value["CapEff"]


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
