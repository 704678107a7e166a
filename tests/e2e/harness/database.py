"""PostgreSQL's own load, and whether all that it was told to be done was done."""

from __future__ import annotations

import re
import subprocess

from harness.process import PATIENCE, run
from harness.servers import Postgres
from harness.suite import check, check_equal

CLIENTS = 8


def psql(port: int, query: str) -> str:
    address = ["-h", "127.0.0.1", "-p", port, "-U", "tester", "-d", "postgres"]
    return run(["psql", "-XAtq", *address, "-c", query], seconds=60).stdout.strip()


class Pgbench:
    """pgbench with CLIENTS clients at this port, which leads to that server."""

    def __init__(self, postgres: Postgres, port: int) -> None:
        self.postgres = postgres
        self.program = str(postgres.programs / "pgbench")
        self.address = ["-h", "127.0.0.1", "-p", str(port), "-U", "tester", "postgres"]
        self.popen: subprocess.Popen | None = None

    def prepare(self) -> None:
        run([self.program, "-i", "-q", "-s", "2", *self.address], seconds=60)

    def start(self, *options: object) -> None:
        load = ["-c", str(CLIENTS), "-j", "2", *map(str, options)]
        self.popen = subprocess.Popen(
            [self.program, *load, *self.address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        if self.popen and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def finish(self, wanted: int | None = None) -> float:
        """Checks that none failed and all (so many, if known) are there; how many a second."""
        assert self.popen
        said, _ = self.popen.communicate(timeout=120 * PATIENCE)
        check_equal(self.popen.returncode, 0, f"exit status of pgbench, which said {said}")
        done = re.search(r"transactions actually processed: (\d+)", said)
        failed = re.search(r"number of failed transactions: (\d+)", said)
        rate = re.search(r"tps = ([\d.]+)", said)
        check(done and failed and rate, f"pgbench said {said}")
        assert done and failed and rate
        check_equal(int(failed.group(1)), 0, "failed transactions")
        count = int(done.group(1))
        check(wanted in (None, count), f"{count} of {wanted} transactions")
        # What each client was told to be done is there when asked without the tunnel.
        sums = "select (select sum(delta) from pgbench_history) = (select sum(abalance) from {0})"
        agree = psql(self.postgres.port, sums.format("pgbench_accounts"))
        check_equal(agree, "t", "balances agree")
        rows = psql(self.postgres.port, "select count(*) from pgbench_history")
        check_equal(rows, str(count), "rows of history")
        return float(rate.group(1))
