#!/usr/bin/env python3
"""packaging/prometheus and packaging/grafana: they name only what exists, promtool takes them, and a
real Prometheus that scrapes a source and a dest evaluates every rule."""

from __future__ import annotations

import http
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from harness.echo import Echo, exchange
from harness.process import Process, program, run, wait_until
from harness.suite import Suite, check, check_equal
from harness.utun import Authority, Pair, Service, binary, toml

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
RULES = PACKAGING / "prometheus" / "utun.rules.yml"
RULES_TEST = PACKAGING / "prometheus" / "utun.rules.test.yml"
DASHBOARD = PACKAGING / "grafana" / "utun.json"
ON = {"metrics": {"enabled": True, "metrics_port": 0}}


def declared() -> dict[str, set[str]]:
    """Every series name that can be served, with its labels."""
    table = run([binary(), "check", "--metrics"], seconds=10).stdout
    names: dict[str, set[str]] = {}
    for name, kind, labels in re.findall(r"^\| `([a-z_0-9]+)` \| (\w+) \| (.*?) \| ", table, re.M):
        has = set(re.findall(r"`([a-z]+)`", labels))
        names[name] = has
        if kind == "histogram":
            del names[name]
            names |= {name + "_sum": has, name + "_count": has, name + "_bucket": has | {"le"}}
    check(len(names) > 60, "the table has too few rows")
    return names


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:utun|process)_[a-z0-9_]+", expression))


def check_expression(expression: str, names: dict[str, set[str]], where: str) -> None:
    """Metrics that exist, selected and grouped by labels that they have."""
    used = names_in(re.sub(r"\$__[a-z_]+", "5m", expression))
    check_equal(used - set(names), set(), f"unknown metrics in {where}")
    possible = {"instance", "job", "__name__"}.union(*(names[name] for name in used))
    for name, labels in re.findall(r"\b((?:utun|process)_[a-z0-9_]+)\{(.*?)\}", expression):
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
        check(wanted <= names[name] | {"instance", "job"}, f"{where}: {name} has no {wanted}")
    for group in re.findall(r"\bby \((.*?)\)", expression):
        wanted = {label.strip() for label in group.split(",")}
        check(wanted <= possible, f"{where}: nothing there has all of {wanted}")


def rules_name_what_exists() -> str:
    names = declared()
    text = RULES.read_text()
    used = names_in("\n".join(line for line in text.splitlines() if "#" not in line))
    check_equal(used - set(names), set(), "unknown metrics in the rules")
    documented = {name for name in used if name in names}
    check(len(documented) > 20, "the rules use few metrics")
    alerts = re.findall(r"- alert: (\w+)", text)
    check_equal(len(alerts), len(set(alerts)), "names of alerts")
    tested = set(re.findall(r'alertname="(\w+)"', RULES_TEST.read_text()))
    check_equal(tested, set(alerts), "alerts that the test of the rules expects")
    return f"{len(alerts)} alerts, {len(documented)} metrics"


def dashboard_names_what_exists() -> str:
    names = declared()
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = 0
    for panel in panels:
        for target in panel["targets"]:
            check_expression(target["expr"], names, f"panel {panel['title']!r}")
            expressions += 1
    for variable in dashboard["templating"]["list"]:
        used = names_in(variable["query"])
        check_equal(used - set(names), set(), f"unknown metrics in variable {variable['name']}")
    check_equal(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]), "ids")
    return f"{len(panels)} panels, {expressions} expressions"


def promtool_takes_the_rules() -> str:
    checked = run([program("promtool"), "check", "rules", str(RULES)], seconds=30)
    run([program("promtool"), "test", "rules", str(RULES_TEST)], seconds=60)
    return checked.stdout.split("SUCCESS:")[1].strip()


# -- a real Prometheus


def ask(port: int, path: str, **parameters: str) -> dict:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}?{query}", timeout=10) as reply:
        return json.load(reply)["data"]


def value(port: int, query: str) -> list[float]:
    """Nothing, too, while Prometheus is only starting."""
    try:
        rows = ask(port, "/api/v1/query", query=query)["result"]
    except urllib.error.HTTPError as e:
        if e.code != http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return []
    return [float(row["value"][1]) for row in rows]


def prometheus_config(folder: Path, targets: list[int]) -> Path:
    path = folder / "prometheus.yml"
    lines = json.dumps([f"127.0.0.1:{port}" for port in targets])
    path.write_text(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n"
        f"rule_files: ['{RULES}']\n"
        "scrape_configs:\n  - job_name: utun\n    static_configs:\n"
        f"      - targets: {lines}\n"
    )
    return path


def prometheus_scrapes_both(suite: Suite, authority: Authority, echo: Echo) -> str:
    """Both targets are up, every rule evaluates, every panel's question is understood, and when the
    dest is killed the alerts begin."""
    service = Service(suite.ports.take(), echo.port)
    with Pair(
        suite.folder,
        suite.ports,
        [service],
        authority,
        source_changes=ON,
        dest_changes=ON,
    ) as pair:
        ports = [p.wait_event("admin.listening")["port"] for p in (pair.source, pair.dest)]
        port = suite.ports.take()
        argv = [
            program("prometheus"),
            f"--config.file={prometheus_config(suite.folder, ports)}",
            f"--storage.tsdb.path={suite.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with Process("prometheus", argv, suite.folder) as prometheus:
            prometheus.wait_listening(port, seconds=30)
            exchange(service.port)
            wait_until(lambda: value(port, "sum(up)") == [2], 30, "both targets to be up")
            wait_until(lambda: value(port, "sum(utun_ready)") == [2], 30, "both to be ready")
            wait_until(
                lambda: value(port, "sum(utun_stream_bytes_total)") == [400_000],
                30,
                "the bytes of the exchange, each way at each end",
            )

            def rules() -> list[dict]:
                return ask(port, "/api/v1/rules")["groups"][0]["rules"]

            wait_until(lambda: {r["health"] for r in rules()} == {"ok"}, 30, "all rules to run")
            check_equal({r["state"] for r in rules()}, {"inactive"}, "states of the alerts")
            dashboard = json.loads(DASHBOARD.read_text())
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    expression = re.sub(r"\$(instance|service)", ".*", target["expr"])
                    value(port, expression.replace("$__rate_interval", "1m"))
            pair.dest.stop(9)
            pair.dest = None

            def pending() -> set[str]:
                return {r["name"] for r in rules() if r["state"] != "inactive"}

            wait_until(
                lambda: {"UtunDown", "UtunNotReady"} <= pending(), 60, "the alerts to begin"
            )
            return f"{len(rules())} rules evaluated; begun: {', '.join(sorted(pending()))}"


def main() -> int:
    with Suite("monitoring") as suite:
        suite.run("the rules name what exists", rules_name_what_exists)
        suite.run("the dashboard names what exists", dashboard_names_what_exists)
        suite.run("promtool takes the rules", promtool_takes_the_rules)
        authority = Authority(suite.folder)
        with Echo(suite.folder, suite.ports) as echo:
            suite.run(
                "Prometheus scrapes both roles", prometheus_scrapes_both, suite, authority, echo
            )
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
