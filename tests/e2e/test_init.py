"""utun init: two folders that work as they are, from flags and from answers at a terminal."""

from __future__ import annotations

import os
import pty
import pwd
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness.echo import Echo, exchange
from harness.process import PATIENCE, Process, run
from harness.suite import Suite, check, check_equal
from harness.utun import Daemon, binary, ready

FILES = {
    "dest": ["README", "ca.crt", "compose.yml", "config.toml", "server.crt", "server.key"],
    "source": ["README", "ca.crt", "client.crt", "client.key", "compose.yml", "config.toml"],
    "ca": ["README", "ca.crt", "ca.key"],
}
QUICK = ["--algorithm", "ed25519"]


def init(*options: object, status: int = 0, **more: object) -> subprocess.CompletedProcess:
    return run([binary(), "init", *map(str, options)], status=status, **more)


def start(suite: Suite, kit: Path, role: str, name: str) -> Daemon:
    config = kit / role / "config.toml"
    options = ["--metrics-port", suite.ports.take(), "--log-format", "json"]
    return Daemon(f"{name}-{role}", [binary(), role, "--config", config, *options], suite.folder)


def check_kit(kit: Path) -> None:
    check_equal(sorted(p.name for p in kit.iterdir()), ["ca", "dest", "source"], "the kit")
    for folder, names in FILES.items():
        wanted = names + ([] if folder == "ca" else [f"utun-{folder}.conf"])
        check_equal(sorted(p.name for p in (kit / folder).iterdir()), sorted(wanted), folder)
        for path in (kit / folder).iterdir():
            mode = 0o600 if path.suffix == ".key" else 0o644
            check_equal(path.stat().st_mode & 0o777, mode, f"the mode of {path}")
        readme = (kit / folder / "README").read_text()
        check_equal(len(readme.splitlines()), 3, "lines of README")
        # Where nothing but `make install` has been, neither the account nor the folder is there.
        for step in () if folder == "ca" else ("systemd-sysusers;", f"mkdir -p /etc/utun/{folder};"):
            check(step in readme and readme.find(step) < readme.find("cp -r"), readme)
    check("stays home" in (kit / "ca" / "README").read_text(), "no word about the CA")
    for role in ("dest", "source"):
        done = run([binary(), "check", "--config", kit / role / "config.toml"])
        check_equal(done.stderr, "", f"what utun check says of the {role}")
        unit = (kit / role / f"utun-{role}.conf").read_text()
        check(f"ExecStart=utun {role} --config /etc/utun/{role}/config.toml" in unit, unit)
        compose = (kit / role / "compose.yml").read_text()
        check(f"utun-{role}:\n    image: utun\n" in compose, compose)


def check_data(suite: Suite, kit: Path, name: str, ports: list[int]) -> None:
    """Both roles run from where the folders were copied to, and carry data."""
    for role in ("dest", "source"):
        shutil.copytree(kit / role, suite.folder / f"{name}-host" / role)
    host = suite.folder / f"{name}-host"
    with ready(start(suite, host, "dest", name)), ready(start(suite, host, "source", name)):
        for port in ports:
            exchange(port)


def from_flags(suite: Suite, echo: Echo) -> None:
    kit, tunnel, first, second = suite.folder / "flags", *(suite.ports.take() for _ in range(3))
    done = init(
        *("--dest-host", "127.0.0.1", "--tunnel-port", tunnel, "--out", kit),
        *("--service", f"one:{first}:127.0.0.1:{echo.port}"),
        *(f"--service=two:{second}:localhost:{echo.port}/tcp", "--days=30"),
    )
    check_equal(done.stderr, "", "standard error")
    check("stays here" in done.stdout, done.stdout)
    check_kit(kit)
    shown = run([binary(), "cert", "show", kit / "dest" / "server.crt"]).stdout
    check("ML-DSA-65" in shown and re.search(r"\((29|30) days left\)", shown), shown)
    check_data(suite, kit, "flags", [first, second])
    compose = (kit / "source" / "compose.yml").read_text()
    check(f'- "127.0.0.1:{first}:{first}/tcp"' in compose, compose)


def with_an_existing_ca(suite: Suite) -> None:
    home = suite.folder / "flags" / "ca"
    kit = suite.folder / "second"
    ca = ["--ca-cert", home / "ca.crt", "--ca-key", home / "ca.key"]
    services = ["--service", "dns:5353:[::1]:53/both"]
    init("--dest-host", "dest.example", *services, "--out", kit, *ca, *QUICK)
    check_equal(sorted(p.name for p in kit.iterdir()), ["dest", "source"], "the kit")
    verify = ["--cert", kit / "dest" / "server.crt", "--ca-cert", home / "ca.crt"]
    run([binary(), "cert", "verify", *verify, "--hostname", "dest.example"])
    compose = (kit / "source" / "compose.yml").read_text()
    check("5353/tcp" in compose and "5353/udp" in compose, compose)


class Terminal:
    """utun init with a person at a pseudo terminal."""

    def __init__(self, *options: object, cwd: Path) -> None:
        self.master, slave = pty.openpty()
        argv = [str(binary()), "init", *map(str, options)]
        self.popen = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, cwd=cwd)
        os.close(slave)
        self.seen = ""

    def read(self) -> bool:
        try:
            data = os.read(self.master, 4096)
        except OSError:
            return False
        self.seen += data.decode()
        return bool(data)

    def expect(self, text: str) -> None:
        """Reads until this was printed, and forgets it and what came before."""
        deadline = time.monotonic() + 20 * PATIENCE
        while text not in self.seen:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.master], [], [], left)[0] or not self.read():
                self.popen.kill()
                raise TimeoutError(f"no {text!r} in {self.seen!r}")
        self.seen = self.seen.partition(text)[2]

    def answer(self, question: str, text: object) -> None:
        self.expect(question)
        os.write(self.master, f"{text}\n".encode())

    def end(self) -> int:
        while self.read():
            pass
        os.close(self.master)
        return self.popen.wait(20 * PATIENCE)


def from_answers(suite: Suite, echo: Echo) -> None:
    tunnel, port = suite.ports.take(), suite.ports.take()
    terminal = Terminal("--out", "asked", *QUICK, cwd=suite.folder)
    terminal.answer("finds the dest: ", "https://dest.example")
    terminal.expect("without a scheme")
    terminal.answer("finds the dest: ", "")
    terminal.expect("must be an IP address or a host name")
    terminal.answer("finds the dest: ", "  127.0.0.1 ")
    terminal.answer("[9443]: ", "70000")
    terminal.expect("must be 1 to 65535, not 70000")
    terminal.answer("[9443]: ", tunnel)
    terminal.answer("127.0.0.1:80: ", "a b")
    terminal.expect("'name' must be")
    terminal.answer("127.0.0.1:80: ", "web")
    terminal.answer("connect to: ", port)
    terminal.answer("[127.0.0.1]: ", "")
    terminal.answer(f"[{port}]: ", echo.port)
    terminal.answer("[tcp]: ", "")
    terminal.answer("that was all): ", "web")
    terminal.answer("connect to: ", 1)
    terminal.answer("[127.0.0.1]: ", "")
    terminal.answer("[1]: ", "")
    terminal.answer("[tcp]: ", "udp")
    terminal.expect("two services named web")
    terminal.answer("that was all): ", "")
    terminal.expect("asked/dest")
    check_equal(terminal.end(), 0, "the exit status")
    check_kit(suite.folder / "asked")
    check_data(suite, suite.folder / "asked", "asked", [port])


def all_of_a_service_in_one_answer(suite: Suite, echo: Echo) -> None:
    """As the option takes it, by the same rules."""
    tunnel, first, second = (suite.ports.take() for _ in range(3))
    options = ("--dest-host", "127.0.0.1", "--tunnel-port", tunnel, "--out", "whole")
    terminal = Terminal(*options, *QUICK, cwd=suite.folder)
    terminal.answer("127.0.0.1:80: ", "web:8080:127.0.0.1")
    terminal.expect("a part is missing")
    terminal.answer("127.0.0.1:80: ", "web:70000:127.0.0.1:80")
    terminal.expect("'port' must be 1 to 65535")
    terminal.answer("127.0.0.1:80: ", f" one:{first}:127.0.0.1:{echo.port} ")
    terminal.answer("that was all): ", f"one:{second}:127.0.0.1:{echo.port}")
    terminal.expect("two services named one")
    terminal.answer("that was all): ", f"two:{second}:127.0.0.1:{echo.port}/both")
    terminal.answer("that was all): ", "")
    terminal.expect("whole/dest")
    check_equal(terminal.end(), 0, "the exit status")
    check_data(suite, suite.folder / "whole", "whole", [first, second])


def only_what_is_missing_is_asked(suite: Suite) -> None:
    services = ["--service", "web:8080:127.0.0.1:80"]
    terminal = Terminal("--out", "rest", *services, *QUICK, cwd=suite.folder)
    terminal.answer("finds the dest: ", "dest.example")
    terminal.answer("[9443]: ", "")
    terminal.expect("rest/source")
    check_equal(terminal.end(), 0, "the exit status")
    check("like web" not in terminal.seen, "the services were asked for")


def an_end_of_the_answers_writes_nothing(suite: Suite) -> None:
    terminal = Terminal("--out", "ended", cwd=suite.folder)
    terminal.expect("finds the dest: ")
    os.write(terminal.master, b"\x04")
    terminal.expect("nothing was written")
    check_equal(terminal.end(), 2, "the exit status")
    terminal = Terminal("--out", "ended", cwd=suite.folder)
    terminal.expect("finds the dest: ")
    terminal.popen.send_signal(signal.SIGINT)
    check_equal(terminal.end(), -signal.SIGINT, "the exit status after SIGINT")
    check_equal(list(suite.folder.glob("ended*")), [], "what was written")


def what_is_wrong_is_named(suite: Suite) -> None:
    good = {
        "--dest-host": "dest.example",
        "--service": "web:8080:127.0.0.1:80",
        "--out": str(suite.folder / "wrong"),
        "--algorithm": "ed25519",
    }
    cases = (
        ({"--dest-host": None}, 2, "--dest-host HOST is missing.*utun init --dest-host"),
        ({"--service": None}, 2, "--service NAME:PORT.*is missing.*--service web:8080"),
        ({"--dest-host": "a b"}, 2, "--dest-host: 'dest_host' must be"),
        ({"--dest-host": "dest:9443"}, 2, "the port has a key of its own"),
        ({"--tunnel-port": "0"}, 2, "--tunnel-port: 'tunnel_port' must be 1 to 65535"),
        ({"--tunnel-port": "x"}, 2, "--tunnel-port: 'tunnel_port' must be a whole number"),
        ({"--tunnel-port": "9090"}, 2, "metrics_port 9090 is the same port"),
        ({"--listen-ip": "lan"}, 2, "--listen-ip: 'listen_ip' must be an IP address"),
        ({"--service": "web:8080:h"}, 2, "a part is missing; write NAME:PORT:HOST:PORT"),
        ({"--service": "w eb:80:h:80"}, 2, "'name' must be"),
        ({"--service": "web:99999:h:80"}, 2, "'port' must be 1 to 65535, not 99999"),
        ({"--service": "web:9090:h:80"}, 2, "metrics_port 9090"),
        ({"--algorithm": "rsa"}, 2, "must be one of ML-DSA-65"),
        ({"--days": "0"}, 2, "--days 0: must be a whole number"),
        ({"--source-name": "x" * 65}, 2, "64"),
        ({"--ca-cert": "x"}, 2, "both --ca-cert FILE and --ca-key FILE"),
        ({"--ca-cert": "none", "--ca-key": "none"}, 1, "CA certificate none: no such file"),
        ({"--out": str(suite.folder)}, 1, "is there already.*never|nothing is ever overwritten"),
        ({"--out": str(suite.folder / "no" / "kit")}, 1, "No such file.*--out"),
        ({"--out": ""}, 2, "no name"),
        ({"--out": "/dev/null/kit"}, 1, "Not a directory"),
        ({"--out": "/" + "x" * 5000}, 2, "too long"),
    )
    before = sorted(suite.folder.iterdir())
    for changes, status, wanted in cases:
        words = {**good, **changes}
        argv = [w for name, value in words.items() if value is not None for w in (name, value)]
        done = init(*argv, status=status)
        check_equal(done.stdout, "", f"{changes}: standard output")
        check(re.search(wanted, done.stderr), f"{changes}: {done.stderr}")
        check_equal(done.stderr.count("\n"), 1, f"{changes}: lines")
    twice = [*("--service", "web:8081:h:80"), *("--service", "web:8082:h:80")]
    done = init("--dest-host", "dest.example", *twice, status=2)
    check("two services named web" in done.stderr, done.stderr)
    check_equal(sorted(suite.folder.iterdir()), before, "the folder")


def what_exists_stays_as_it_is(suite: Suite) -> None:
    kit = suite.folder / "flags"
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in kit.rglob("*")}
    service = ["--service", "web:8080:127.0.0.1:80"]
    done = init("--dest-host", "dest.example", *service, "--out", kit, status=1)
    check("is there already" in done.stderr, done.stderr)
    after = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in kit.rglob("*")}
    check_equal(after, before, "the files")


def a_folder_that_cannot_be_written(suite: Suite) -> None:
    shut = suite.folder / "shut"
    shut.mkdir(mode=0o555)
    program = suite.folder / "utun"
    shutil.copy(binary(), program)
    program.chmod(0o755)
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    words = ["--dest-host", "d.example", "--service", "a:1:h:1", "--out", str(shut / "kit"), *QUICK]
    done = run([program, "init", *words], status=1, user=user if os.geteuid() == 0 else None)
    check("Permission denied; name another with --out" in done.stderr, done.stderr)
    check_equal(list(shut.iterdir()), [], "what is in it")


def a_full_disk_leaves_nothing(suite: Suite) -> None:
    """A limit on the size of files stands in for the disk."""
    words = ["--dest-host", "d.example", "--service", "a:1:h:1", "--out", suite.folder / "full"]
    argv = " ".join(map(str, [binary(), "init", *words]))
    # The certificates are larger than 4 blocks of 512 bytes, the texts are not.
    done = run(["sh", "-c", f"trap '' XFSZ; ulimit -f 4; exec {argv}"], status=1)
    check("File too large" in done.stderr, done.stderr)
    check_equal(list(suite.folder.glob("full*")), [], "what is left")


def main() -> int:
    with Suite("init") as suite, Echo(suite.folder, suite.ports) as echo:
        suite.run("flags make two folders that carry data", from_flags, suite, echo)
        suite.run("an existing CA signs and is not copied", with_an_existing_ca, suite)
        suite.run("answers make two folders that carry data", from_answers, suite, echo)
        suite.run("all of a service in one answer", all_of_a_service_in_one_answer, suite, echo)
        suite.run("only what is missing is asked", only_what_is_missing_is_asked, suite)
        suite.run("no answer, no file", an_end_of_the_answers_writes_nothing, suite)
        suite.run("what is wrong is named", what_is_wrong_is_named, suite)
        suite.run("what exists stays as it is", what_exists_stays_as_it_is, suite)
        suite.run("a folder that cannot be written", a_folder_that_cannot_be_written, suite)
        suite.run("a full disk leaves nothing", a_full_disk_leaves_nothing, suite)
    return suite.status()


if __name__ == "__main__":
    raise SystemExit(main())
