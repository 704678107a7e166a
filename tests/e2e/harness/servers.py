"""Private servers of real programs, each in a folder and on a port of its own."""

from __future__ import annotations

import os
from pathlib import Path

from harness.ports import Ports
from harness.process import Process, program, run, wait_until


class Server:
    """Starts with `with` and stops at its end."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder = folder / type(self).__name__.lower()
        self.folder.mkdir()
        self.port = ports.take()
        self.process: Process | None = None
        self.prepare()

    def prepare(self) -> None:
        """Writes what the server needs before it starts."""

    def start(self) -> Process:
        raise NotImplementedError

    def __enter__(self) -> Server:
        self.process = self.start()
        self.process.wait_listening(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stop()


class Nginx(Server):
    """Serves <folder>/files and takes uploads there; /tiny answers with a few bytes."""

    def prepare(self) -> None:
        self.files = self.folder / "files"
        self.files.mkdir()
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"""\
daemon off;
master_process off;
pid {self.folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    {temporary}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        listen [::1]:{self.port} backlog=4096;
        root {self.files};
        dav_methods PUT;
        location = /tiny {{ return 200 "tiny\\n"; }}
    }}
}}
"""
        )

    def start(self) -> Process:
        log = ("-e", "stderr")
        return Process("nginx", ["nginx", "-c", self.folder / "nginx.conf", *log], self.folder)


class Redis(Server):
    def start(self) -> Process:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        options += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        return Process("redis", ["redis-server", *options], self.folder)


class Postgres(Server):
    """A cluster that trusts everybody who reaches it; as root it runs as another user."""

    def prepare(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        self.programs = found[-1].parent if found else Path(program("postgres")).parent
        self.data = self.folder / "data"
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            run(["chown", self.user, self.folder])
        initdb = [self.programs / "initdb", "-D", self.data, "-U", "tester", "-A", "trust"]
        run(
            [*initdb, "--no-sync", "-E", "UTF8", "--no-locale"],
            user=self.user,
            group=self.user,
            cwd=self.folder,
        )

    def start(self) -> Process:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        options = [word for key, item in settings.items() for word in ("-c", f"{key}={item}")]
        argv = [self.programs / "postgres", "-D", self.data, *options]
        return Process("postgres", argv, self.folder, user=self.user, cwd=self.folder)

    def __enter__(self) -> Postgres:
        super().__enter__()
        ask = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(lambda: run(ask, status=None).returncode == 0, 30, "PostgreSQL to be ready")
        return self


class Iperf(Server):
    def start(self) -> Process:
        argv = ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.port)]
        return Process("iperf3", argv, self.folder)


class Sshd(Server):
    """Lets in the user who runs the test, with a key of its own."""

    CIPHER = "aes256-gcm@openssh.com"

    def prepare(self) -> None:
        self.user = run(["id", "-un"]).stdout.strip()
        self.key = self.folder / "user_key"
        host_key = self.folder / "host_key"
        for path in (self.key, host_key):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        known = host_key.with_suffix(".pub").read_text()
        (self.folder / "known_hosts").write_text(f"* {known}")
        (self.folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        (self.folder / "sshd_config").write_text(
            f"""\
ListenAddress 127.0.0.1
Port {self.port}
HostKey {host_key}
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Ciphers {self.CIPHER}
Subsystem sftp internal-sftp
"""
        )

    def start(self) -> Process:
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd wants it when it is root
        argv = [program("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"]
        return Process("sshd", argv, self.folder)

    def client_options(self) -> list[str]:
        """For ssh and scp, apart from the port."""
        return [
            *("-F", "none", "-i", str(self.key), "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "BatchMode=yes"),
            *("-o", f"Ciphers={self.CIPHER}", "-o", "LogLevel=ERROR"),
        ]
