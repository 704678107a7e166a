#!/usr/bin/env python3
"""PostgreSQL with pgbench, Redis with redis-benchmark, OpenSSH with scp, through the tunnel."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from content import sum_of, write_file
from harness.database import Pgbench, psql
from harness.forwarders import Route, chosen
from harness.process import SANITIZED, run
from harness.servers import Postgres, Redis, Sshd
from harness.suite import Suite, check, check_equal

COPY_MIB = 16 if SANITIZED else 64
TRANSACTIONS = 100 if SANITIZED else 400
REDIS_REQUESTS = 10_000 if SANITIZED else 30_000


# -- PostgreSQL


def pgbench(postgres: Postgres, port: int) -> str:
    bench = Pgbench(postgres, port)
    bench.prepare()
    bench.start("-t", TRANSACTIONS)
    rate = bench.finish(8 * TRANSACTIONS)
    return f"{8 * TRANSACTIONS} transactions, {rate:.0f}/s"


def psql_rows(postgres: Postgres, port: int) -> None:
    query = "copy (select i, md5(i::text) from generate_series(1, 300000) i) to stdout"
    sums = [hashlib.sha256(psql(p, query).encode()).hexdigest() for p in (postgres.port, port)]
    check_equal(sums[1], sums[0], "SHA-256 of 300,000 rows")


# -- Redis


def redis_benchmark(port: int) -> str:
    load = ["-c", "50", "-n", REDIS_REQUESTS, "-t", "set,get,incr,lpush,mset"]
    said = run(["redis-benchmark", "-p", port, "-q", *load], seconds=180).stdout
    rates = re.findall(r"^(\w+).*?: ([\d.]+) requests per second", said.replace("\r", "\n"), re.M)
    check_equal(len(rates), 5, f"kinds of request that ended (it said: {said})")
    piped = ["redis-benchmark", "-p", port, "-q", "-P", "64", "-d", "1000", "-t", "set,get"]
    run([*piped, "-n", REDIS_REQUESTS], seconds=120)
    return ", ".join(f"{name} {float(rate):.0f}/s" for name, rate in rates)


def redis_value(redis: Redis, port: int, folder: Path) -> None:
    """A value far larger than any window goes in through the tunnel and comes out of it."""
    text = (folder / "value").absolute()
    wanted = write_file(text, 20)
    put = f"redis-cli -p {port} -x set big < {text}"
    check_equal(run(["sh", "-c", put]).stdout.strip(), "OK", "the answer to SET")
    for which in (redis.port, port):
        got = folder / f"value-{which}"
        run(["sh", "-c", f"redis-cli -p {which} --raw get big | head -c {20 << 20} > {got}"])
        check_equal(sum_of(got), wanted, f"SHA-256 through port {which}")


# -- OpenSSH


def scp(sshd: Sshd, port: int, folder: Path, up: bool) -> None:
    near, far = folder / f"near-{up}", folder / f"far-{up}"
    remote = f"{sshd.user}@127.0.0.1:{far}"
    wanted = write_file(near if up else far, COPY_MIB)
    way = [near, remote] if up else [remote, near]
    run(["scp", "-q", *sshd.client_options(), "-P", port, *way], seconds=120)
    check_equal(sum_of(far if up else near), wanted, "SHA-256")


def ssh_command(sshd: Sshd, port: int) -> None:
    argv = [
        "ssh",
        *sshd.client_options(),
        "-p",
        port,
        f"{sshd.user}@127.0.0.1",
        "seq 200000; exit 7",
    ]
    said = run(argv, status=7).stdout.split()
    check_equal(said, [str(n) for n in range(1, 200001)], "the command's output")


def main() -> int:
    with Suite("real programs") as suite:
        folder, ports = suite.folder, suite.ports
        with Postgres(folder, ports) as postgres, Redis(folder, ports) as redis:
            with Sshd(folder, ports) as sshd:
                routes = [Route(ports.take(), s.port) for s in (postgres, redis, sshd)]
                with chosen()(folder, ports, routes) as forwarder:
                    to_postgres, to_redis, to_sshd = map(forwarder.entry, routes)
                    suite.run("pgbench, PostgreSQL", pgbench, postgres, to_postgres)
                    suite.run("300,000 rows by psql", psql_rows, postgres, to_postgres)
                    suite.run("redis-benchmark, Redis", redis_benchmark, to_redis)
                    suite.run("a 20 MiB value in Redis", redis_value, redis, to_redis, folder)
                    suite.run(f"scp of {COPY_MIB} MiB, up", scp, sshd, to_sshd, folder, True)
                    suite.run(f"scp of {COPY_MIB} MiB, down", scp, sshd, to_sshd, folder, False)
                    suite.run("ssh: output and exit status", ssh_command, sshd, to_sshd)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
