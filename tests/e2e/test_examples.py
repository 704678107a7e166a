"""Every file of examples/ is checked and started as it is, and carries data.

What a test machine cannot have is put in its place: ports that the kernel gave, the same for the same
number on both sides, and 127.0.0.1 for hosts. Certificates and other files stand beside the
configuration under the names that it gives.
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from harness.datagrams import Client, UdpEcho
from harness.process import run
from harness.suite import Suite, check, check_equal
from harness.utun import Daemon, binary, ready

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Each source with the dest that belongs to it. A file that is in no pair fails the test.
PAIRS = {
    "transparent": "config-dest.toml",
    "proxy": "config-dest-proxy.toml",
    "hybrid": "config-dest-proxy.toml",
    "dns": "config-dest-dns.toml",
    "failover": "config-dest.toml",
    "haproxy": "config-dest-haproxy.toml",
    "pki": "config-dest-pki.toml",
    "unix": "config-dest-unix.toml",
    "busy": "config-dest-busy.toml",
}
USER = "alice:open sesame"
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

PORT_KEYS = r"port|target_port|listen_port|tunnel_port|dest_tunnel_port"
HOST_KEYS = r"listen_ip|dest_host|target_ip"
# A dest that does not answer stands first in the list of several.
DEAD_HOST, LIVE_HOST = "127.0.0.2", "127.0.0.1"


class Greeter:
    """An HTTP server that greets, and keeps the PROXY header that came before the request."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.headers: list[bytes] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.greet, args=(sock,), daemon=True).start()

    def greet(self, sock: socket.socket) -> None:
        with sock:
            data = b""
            while not data.endswith(b"\r\n\r\n") or data == V2_SIGNATURE[:4]:
                piece = sock.recv(65536)
                if not piece:
                    return
                data += piece
            self.headers.append(data.partition(b"GET ")[0])
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")

    def __enter__(self) -> Greeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()


@dataclass
class Bench:
    """One pair of examples in a folder, with everything around it that it needs."""

    suite: Suite
    name: str
    folder: Path
    ports: dict[tuple, int] = field(default_factory=dict)

    def replace_port(self, match: re.Match) -> str:
        """The same for the same number; but targets are on another host in the examples."""
        key, number = match.groups()
        wanted = (key == "target_port", number)
        if wanted not in self.ports:
            self.ports[wanted] = self.suite.ports.take_both()
        return f"{key} = {self.ports[wanted]}"

    def replace_host(self, match: re.Match) -> str:
        key, value = match.groups()
        if value.startswith("["):
            hosts = [DEAD_HOST] * (value.count('"') // 2 - 1) + [LIVE_HOST]
            return f"{key} = [" + ", ".join(f'"{host}"' for host in hosts) + "]"
        return f'{key} = "{LIVE_HOST}"'

    def place(self, example: Path) -> Path:
        text = example.read_text()
        text = re.sub(rf"^({PORT_KEYS}) = (\d+)", self.replace_port, text, flags=re.M)
        text = re.sub(rf'^({HOST_KEYS}) = ("[^"]*"|\[[^]]*\])', self.replace_host, text, flags=re.M)
        text = re.sub(r'"10\.0\.0\.10"', f'"{LIVE_HOST}"', text)
        paths = r'^(listen_path|target_path) = "[^"]*"'
        text = re.sub(paths, lambda m: f'{m[1]} = "{self.folder}/{m[1]}"', text, flags=re.M)
        # A dest that has no listen_ip takes any address, also that of the dead host.
        text = re.sub(r"^(tunnel_port = .*)", r'\1\nlisten_ip = "127.0.0.1"', text, flags=re.M)
        if text.count("listen_ip") > 1:
            text = re.sub(r'^listen_ip = "127.0.0.1".*\n', "", text, count=1, flags=re.M)
        path = self.folder / example.name
        path.write_text(text)
        return path

    def start(self, role: str, config: Path) -> Daemon:
        done = run([binary(), "check", "--config", config, "--role", role])
        check_equal(done.stderr, "", f"what utun check says of {config.name}")
        port = ["--metrics-port", self.suite.ports.take(), "--log-format", "json"]
        argv = [binary(), role, "--config", config, *port]
        return Daemon(f"{self.name}-{role}", argv, self.folder)


def make_files(folder: Path) -> None:
    """A PKI with an intermediate, a CRL of each CA, and users: what the examples name."""

    def openssl(*words: object) -> None:
        run(["openssl", *map(str, words)], cwd=folder)

    def request(name: str, subject: str) -> None:
        key = ["-newkey", "ed25519", "-nodes", "-keyout", f"{name}.key"]
        openssl("req", "-new", *key, "-subj", subject, "-out", f"{name}.csr")
        (folder / f"{name}.key").chmod(0o600)

    def sign(name: str, by: str, extensions: str) -> None:
        (folder / "ext").write_text(extensions)
        ca = ["-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial"]
        files = ["-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", "ext"]
        openssl("x509", "-req", *ca, *files, "-days", "30")

    authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    key = ["-newkey", "ed25519", "-nodes", "-keyout", "ca.key", "-days", "60"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl("req", "-x509", *key, "-subj", "/CN=Root", "-out", "ca.crt", *usage)
    request("middle", "/CN=Middle")
    sign("middle", "ca", authority)
    names = "subjectAltName=DNS:dest.example,DNS:localhost,IP:127.0.0.1,IP:127.0.0.2"
    request("server", "/CN=dest.example")
    sign("server", "middle", f"extendedKeyUsage=serverAuth\n{names}\n")
    request("client", "/CN=edge-1.example.com")
    name = "subjectAltName=DNS:edge-1.example.com"
    sign("client", "middle", f"extendedKeyUsage=clientAuth\n{name}\n")
    middle = (folder / "middle.crt").read_text()
    for leaf in ("server", "client"):
        path = folder / f"{leaf}.crt"
        path.write_text(path.read_text() + middle)
    crls = ""
    for ca in ("ca", "middle"):
        (folder / "index.txt").write_text("")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncertificate={ca}.crt\n"
            f"private_key={ca}.key\ndefault_md=default\ndefault_crl_days=20\n"
        )
        openssl("ca", "-config", "ca.cnf", "-gencrl", "-out", "one.crl")
        crls += (folder / "one.crl").read_text()
    (folder / "crl.pem").write_text(crls)
    (folder / "users").write_text(USER + "\n")
    (folder / "users").chmod(0o600)


def curl(*options: object) -> None:
    words = ["-sS", "--fail", "--max-time", "20", "--retry", "5", "--retry-connrefused"]
    done = run(["curl", *words, *map(str, options)], status=None)
    check_equal((done.returncode, done.stdout), (0, "hello\n"), f"curl {options}: {done.stderr}")


def use(bench: Bench, source: dict, dest: dict) -> None:
    """Sends something through each port and by each way in that the source has."""
    section = source["source"]
    entry = section.get("listen_port")
    haproxy = ["--haproxy-protocol"] if "accept_proxy_protocol" in section else []
    for row in section.get("exposed_ports", []):
        if "listen_path" in row:
            curl("--unix-socket", row["listen_path"], "http://app/")
            continue
        if row.get("protocol", "tcp") in ("tcp", "both"):
            curl(*haproxy, f"http://127.0.0.1:{row['port']}/")
        if row.get("protocol", "tcp") in ("udp", "both"):
            with Client(row["port"]) as client:
                client.try_until_answered(10)
    if section.get("mode") in ("protocol", "hybrid"):
        user = ["--proxy-user", USER] if "proxy_users_path" in section else []
        for service in dest["dest"]["exposed_services"]:
            url = f"http://{service['name']}:{service['port']}/"
            curl("--proxy", f"socks5h://127.0.0.1:{entry}", *user, url)
            curl("--proxy", f"http://127.0.0.1:{entry}", "--proxytunnel", *user, url)


def run_pair(suite: Suite, name: str, files: Path) -> str:
    folder = suite.folder / name
    shutil.copytree(files, folder)
    bench = Bench(suite, name, folder)
    configs = {
        "dest": bench.place(EXAMPLES / PAIRS[name]),
        "source": bench.place(EXAMPLES / f"config-source-{name}.toml"),
    }
    tables = {role: tomllib.loads(path.read_text()) for role, path in configs.items()}
    greeters, echoes = [], []
    for service in tables["dest"]["dest"]["exposed_services"]:
        if "target_path" in service:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(service["target_path"])
            Path(service["target_path"]).chmod(0o666)  # a dest that root starts is not root
            listener.listen(64)
        else:
            listener = socket.create_server(("127.0.0.1", service["target_port"]))
        greeters.append(Greeter(listener))
        if service.get("protocol") in ("udp", "both"):
            echoes.append(UdpEcho(bench.folder, suite.ports))
            echoes[-1].port = service["target_port"]
    for echo in echoes:
        echo.__enter__()
    try:
        with ready(bench.start("dest", configs["dest"])) as dest:
            with ready(bench.start("source", configs["source"])) as source:
                use(bench, tables["source"], tables["dest"])
                peers = {e["peer"] for e in dest.events("session.up")}
                check_equal(peers, {"edge-1.example.com"}, "the source's name")
                check_equal(source.events("config.warning"), [], "warnings")
    finally:
        for echo in echoes:
            echo.__exit__(None, None, None)
        for greeter in greeters:
            greeter.__exit__()
    headers = [h for greeter in greeters for h in greeter.headers]
    check(headers, "no target was reached")
    for header in headers:
        wanted = V2_SIGNATURE if name == "haproxy" else b""
        check_equal(header[: len(V2_SIGNATURE)], wanted, "what came before the request")
    return f"{len(headers)} requests"


def nothing_is_forgotten() -> None:
    found = {path.name for path in EXAMPLES.glob("**/*.toml")}
    paired = {f"config-source-{name}.toml" for name in PAIRS} | set(PAIRS.values())
    check_equal(found, paired, "the files of examples/")
    readme = (EXAMPLES / "README.md").read_text()
    check_equal(set(re.findall(r"\(([\w-]+\.toml)\)", readme)), found, "the files in its README")


def main() -> int:
    with Suite("examples") as suite:
        suite.run("every file is in a pair, and in the list", nothing_is_forgotten)
        files = suite.folder / "files"
        files.mkdir()
        make_files(files)
        for name in PAIRS:
            suite.run(f"{name} carries data", run_pair, suite, name, files)
    return suite.status()


if __name__ == "__main__":
    raise SystemExit(main())
