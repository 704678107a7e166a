#!/usr/bin/env python3
"""Real programs over UDP: dig and dnsperf against dnsmasq, iperf3 beside a bulk transfer."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


from harness.ports import Ports
from harness.process import PATIENCE, SANITIZED, Process, receives, run, wait_until
from harness.servers import Server
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service

HOSTS = {f"host{i}.test": f"10.1.{i // 250}.{i % 250 + 1}" for i in range(500)}

# What a TXT record of this length needs goes beyond 512 bytes, and beyond one Ethernet frame.
LONG_TEXT = "long.test"


class Dnsmasq(Server):
    """Answers for HOSTS over UDP and TCP."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        super().__init__(folder, ports)
        self.port = ports.take_both()
        self.prepare_zone()

    def prepare_zone(self) -> None:
        lines = [f"host-record={name},{ip}" for name, ip in HOSTS.items()]
        text = ",".join(f"{i:03}{'x' * 200}" for i in range(4))
        lines.append(f"txt-record={LONG_TEXT},{text}")
        (self.folder / "dnsmasq.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> Process:
        return Process(
            "dnsmasq",
            [
                "dnsmasq",
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--local=/test/",
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                "--user=",
                "--pid-file=",
                "--edns-packet-max=4096",
                "--dns-forward-max=5000",
                "--log-facility=-",
                f"--port={self.port}",
                f"--conf-file={self.folder / 'dnsmasq.conf'}",
            ],
            self.folder,
        )

    def __enter__(self) -> Dnsmasq:
        self.process = self.start()
        wait_until(lambda: receives(self.port), 10, "dnsmasq to bind its port")
        return self


def dig(port: int, *question: str) -> str:
    return run(["dig", "@127.0.0.1", "-p", str(port), *question], seconds=20).stdout


def dig_answers(port: int) -> None:
    for name, ip in list(HOSTS.items())[::100]:
        check_equal(dig(port, name, "+short").strip(), ip, name)
    check("NXDOMAIN" in dig(port, "nobody.test"), "a name that is not there")
    said = dig(port, LONG_TEXT, "TXT", "+bufsize=4096", "+ignore", "+notcp")
    check(said.count("x" * 200) == 4, f"a long answer came cut: {said}")
    check("flags: qr aa rd ra" in said or " tc " not in said, "a long answer came truncated")
    said = dig(port, LONG_TEXT, "TXT", "+bufsize=512")
    check("(TCP)" in said and said.count("x" * 200) == 4, "the way over TCP was not taken")


def dnsperf(port: int, folder: Path) -> str:
    questions = folder / "questions"
    questions.write_text("".join(f"{name} A\n" for name in HOSTS))
    seconds = 3
    said = run(
        [
            *("dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", questions),
            *("-l", str(seconds), "-c", "20", "-q", "50", "-t", "2"),
        ],
        seconds=30,
    ).stdout

    def number(pattern: str) -> float:
        found = re.search(pattern, said)
        check(found, f"dnsperf said nothing of {pattern!r}: {said}")
        return float(found.group(1))

    sent, done = number(r"Queries sent:\s+(\d+)"), number(r"Queries completed:\s+(\d+)")
    check(sent > 1000 / PATIENCE, f"only {sent:.0f} questions were asked")
    check(done >= 0.99 * sent, f"{done:.0f} of {sent:.0f} questions were answered")
    check(re.search(r"NOERROR \d+ \(100.00%\)", said), f"wrong answers: {said}")
    rate = number(r"Queries per second:\s+([\d.]+)")
    return f"{rate:.0f} questions a second, {sent - done:.0f} of {sent:.0f} without an answer"


class Iperf(Server):
    def __init__(self, folder: Path, ports: Ports, name: str) -> None:
        self.name = name
        place = folder / name
        place.mkdir()
        super().__init__(place, ports)
        self.port = ports.take_both()

    def start(self) -> Process:
        return Process(
            self.name, ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.port)], self.folder
        )


def iperf_beside_bulk(suite: Suite, bulk: int, datagrams: int) -> str:
    """50 Mbit/s of datagrams lose at most 5 % while a transfer takes all that is left."""
    megabits = 10 if SANITIZED else 50
    seconds = 5
    client = ["iperf3", "-c", "127.0.0.1", "--json"]
    beside = Process("bulk", [*client, "-p", str(bulk), "-t", str(seconds + 3)], suite.folder)
    said = run(
        [
            *(*client, "-p", str(datagrams), "-u", "-l", "1472"),
            *("-b", f"{megabits}M", "-t", str(seconds)),
        ],
        seconds=40,
    ).stdout
    beside.wait(30)
    result = json.loads(said)["end"]["sum"]
    lost = float(result["lost_percent"])
    bulk_rate = json.loads(beside.out_path.read_text())["end"]["sum_received"]["bits_per_second"]
    check(bulk_rate > 50e6 / PATIENCE, f"the bulk transfer had only {bulk_rate / 1e6:.0f} Mbit/s")
    check(result["packets"] > 1000 / PATIENCE, f"only {result['packets']} datagrams were sent")
    check(lost <= 5, f"{lost:.2f} % of the datagrams were lost")
    return (
        f"{lost:.2f} % of {result['packets']} datagrams lost at {megabits} Mbit/s, jitter "
        f"{result['jitter_ms']:.2f} ms, beside {bulk_rate / 1e6:.0f} Mbit/s of bulk"
    )


def main() -> int:
    with Suite("programs over UDP") as suite:
        authority = Authority(suite.folder)
        with Dnsmasq(suite.folder, suite.ports) as dns, Iperf(
            suite.folder, suite.ports, "iperf-bulk"
        ) as bulk, Iperf(suite.folder, suite.ports, "iperf-datagrams") as datagrams:
            services = [
                Service(suite.ports.take_both(), target.port, protocol="both")
                for target in (dns, bulk, datagrams)
            ]
            with Pair(
                suite.folder,
                suite.ports,
                services,
                authority,
                dest_changes={"dest": {"max_connections_per_service": 1000}},
            ):
                suite.run("dig", dig_answers, services[0].port)
                suite.run("dnsperf", dnsperf, services[0].port, suite.folder)
                suite.run(
                    "iperf3 -u beside a bulk transfer",
                    iperf_beside_bulk,
                    suite,
                    services[1].port,
                    services[2].port,
                )
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
