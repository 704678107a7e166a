#!/usr/bin/env python3
"""Dockerfile, Compose file and Kubernetes manifests, held to the real program and its configuration.
There is no container engine here: the long form plays the Dockerfile's steps in a Debian 13 root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from harness.process import run
from harness.suite import LONG, Suite, check, check_equal
from harness.utun import Authority, binary

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "packaging" / "docker" / "Dockerfile"
COMPOSE = ROOT / "packaging" / "docker" / "compose.yml"
KUBERNETES = ROOT / "packaging" / "kubernetes"


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M).replace("\\\n", "")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def last(instruction: str) -> str:
    return [rest for name, rest in steps() if name == instruction][-1]


def user() -> int:
    return int(last("USER").split(":")[0])


# -- Dockerfile


def dockerfile() -> str:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    check_equal({name for name, _ in steps()} - known, set(), "instructions that are not known here")
    for base in (rest for name, rest in steps() if name == "FROM"):
        check(base.split()[0] == "debian:13-slim", f"FROM {base}")
    for source in (rest for name, rest in steps() if name == "COPY" and "--from" not in rest):
        check((ROOT / source.split()[0]).exists(), f"COPY {source}")
    for command in (rest for name, rest in steps() if name == "RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True, timeout=10)
        for tool in re.findall(r"tools/[a-z-]+", command):
            check(os.access(ROOT / tool, os.X_OK), f"RUN {tool}")
    check(user() > 0, "it runs as root")
    health = json.loads(last("HEALTHCHECK").split("CMD", 1)[1])
    check_equal(health[:3], ["/usr/bin/utun", "health", "--alive"], "HEALTHCHECK")
    is_a_command(health[1:])
    check_equal(json.loads(last("ENTRYPOINT")), ["/usr/bin/utun"], "ENTRYPOINT")
    return f"{len(steps())} steps, user {user()}"


def is_a_command(words: list[str]) -> None:
    """utun takes these words: what is wrong, where nothing runs, is not the command line."""
    done = run([binary(), *words, "--endpoint", "http://127.0.0.1:1"], status=None)
    check_equal(done.returncode, 1, f"exit status of utun {' '.join(words)} ({done.stderr.strip()})")


# -- Compose


def compose(folder: Path) -> str:
    stack = yaml.safe_load(COMPOSE.read_text())
    services = stack["services"]
    volumes = {mount.split(":")[0] for one in services.values() for mount in one.get("volumes", [])}
    check_equal(volumes, set(stack["volumes"]), "volumes")
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            check(needed in services, f"{name} depends on {needed}, which is not there")
        if service["image"] == "utun":
            check(service["read_only"] and service["cap_drop"] == ["ALL"], f"{name} has rights to spare")
            check_equal((COMPOSE.parent / service["build"]["context"]).resolve(), ROOT, "the context")
    # The command of `init` makes what the commands of the others read.
    command = services["init"]["command"][0]
    place = folder / "compose"
    place.mkdir()
    script = command.replace("/var/lib/utun", str(place)).replace("exec utun", f"exec {binary()}")
    for _ in range(2):  # the second start finds it done
        run(["sh", "-c", script])
    configs = {}
    for role in ("dest", "source"):
        words = services[role]["command"]
        check_equal(words[:2], [role, "--config"], f"command of {role}")
        path = words[2].replace("/var/lib/utun", str(place))
        run([binary(), "check", "--role", role, "--config", path])
        configs[role] = tomllib.loads(Path(path).read_text())
        asked = services[role]["healthcheck"]["test"]
        check_equal(asked, ["CMD", "utun", "health", "--alive", "--config", words[2]], f"health check of {role}")
        check_equal(run([binary(), "health", "--config", path], status=None).returncode, 1, "its exit status")
    source, dest = configs["source"]["source"], configs["dest"]["dest"]
    check(source["dest_host"] in services, f"no service is called {source['dest_host']}")
    check(dest["exposed_services"][0]["target_ip"] in services, "no service is the target")
    check_equal(source["listen_ip"], "0.0.0.0", "where the source listens")
    published = services["source"]["ports"][0].split(":")[-1]
    check_equal(int(published), source["exposed_ports"][0]["port"], "the published port")
    return ", ".join(services)


# -- Kubernetes


class End:
    def __init__(self, role: str) -> None:
        self.role = role
        self.folder = KUBERNETES / role
        self.kustomization = yaml.safe_load((self.folder / "kustomization.yaml").read_text())
        objects = list(yaml.safe_load_all((self.folder / f"{role}.yaml").read_text()))
        self.deployment, self.service = objects
        self.pod = self.deployment["spec"]["template"]
        (self.container,) = self.pod["spec"]["containers"]
        self.config = tomllib.loads((self.folder / "config.toml").read_text())


def manifests(folder: Path, authority: Authority, role: str) -> str:
    end = End(role)
    check_equal(end.kustomization["resources"], [f"{role}.yaml"], "resources")
    (generator,) = end.kustomization["configMapGenerator"]
    check_equal((generator["name"], generator["files"]), (f"utun-{role}", ["config.toml"]), "the ConfigMap")
    # The pod's folder, as the volume puts it together, is good for the role.
    (volume,) = end.pod["spec"]["volumes"]
    sources = volume["projected"]["sources"]
    check_equal(sources, [{"configMap": {"name": f"utun-{role}"}}, {"secret": {"name": f"utun-{role}"}}], "sources")
    place = folder / f"kubernetes-{role}"
    place.mkdir()
    shutil.copy(end.folder / "config.toml", place)
    for name, path in secret(authority, role).items():
        shutil.copy(path, place / name)
        (place / name).chmod(volume["projected"]["defaultMode"])
    said = run([binary(), "check", "--role", role, "--config", place / "config.toml"])
    check("error" not in said.stderr, said.stderr)
    # The README's commands name the same files.
    head = (KUBERNETES / "kustomization.yaml").read_text()
    named = re.findall(rf"--from-file=utun/{role}/(\S+)", head)
    check_equal(set(named), set(secret(authority, role)), "files of the Secret")
    # Names and ports agree, from the configuration to the Service.
    labels = end.pod["metadata"]["labels"]
    check_equal(end.deployment["spec"]["selector"]["matchLabels"], labels, "labels of the Deployment")
    check_equal(end.service["spec"]["selector"], labels, "labels of the Service")
    ports = {port["name"]: port["containerPort"] for port in end.container["ports"]}
    check_equal(ports.pop("metrics"), end.config["metrics"]["metrics_port"], "the port of metrics")
    check_equal(end.pod["metadata"]["annotations"]["prometheus.io/port"], str(end.config["metrics"]["metrics_port"]), "annotation")
    wanted = [end.config["dest"]["tunnel_port"]] if role == "dest" else [one["port"] for one in end.config["source"]["exposed_ports"]]
    check_equal(list(ports.values()), wanted, "ports of the container")
    for port in end.service["spec"]["ports"]:
        check_equal(ports[port["targetPort"]], port["port"], "port of the Service")
    check_equal((end.container["args"], end.container["image"]), ([role], "utun"), "the command")
    # Rights.
    check_equal(end.pod["spec"]["securityContext"]["runAsUser"], user(), "the user, as in the Dockerfile")
    check_equal(end.pod["spec"]["securityContext"]["fsGroup"], user(), "the group of the Secret")
    context = end.container["securityContext"]
    check(context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], "rights to spare")
    check_equal(context["capabilities"], {"drop": ["ALL"]}, "capabilities")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        words = end.container[probe]["exec"]["command"]
        asked = "--ready" if probe == "readinessProbe" and role == "source" else "--alive"
        check_equal(words[:3], ["utun", "health", asked], probe)
        is_a_command(words[1:])
        # The program gives up before the kubelet does, and says why.
        patience = int(words[words.index("--timeout") + 1])
        check(end.container[probe]["timeoutSeconds"] > patience, f"timeoutSeconds of {probe}")
    return f"{len(end.container['ports'])} ports"


def secret(authority: Authority, role: str) -> dict[str, Path]:
    own = authority.server() if role == "dest" else authority.client()
    name = "server" if role == "dest" else "client"
    return {"ca.crt": authority.ca.cert, f"{name}.crt": own.cert, f"{name}.key": own.key}


def both_ends_meet() -> None:
    source, dest = End("source"), End("dest")
    check_equal(source.config["source"]["dest_host"], dest.service["metadata"]["name"], "dest_host")
    check_equal(source.config["source"]["dest_tunnel_port"], dest.service["spec"]["ports"][0]["port"], "dest_tunnel_port")
    exposed = {one["port"] for one in source.config["source"]["exposed_ports"]}
    check_equal(exposed, {one["port"] for one in dest.config["dest"]["exposed_services"]}, "services")
    whole = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    check_equal(whole["resources"], ["dest", "source"], "resources")
    if shutil.which("kubectl"):
        objects = list(yaml.safe_load_all(run(["kubectl", "kustomize", KUBERNETES]).stdout))
        kinds = sorted(one["kind"] for one in objects)
        check_equal(kinds, ["ConfigMap"] * 2 + ["Deployment"] * 2 + ["Service"] * 2, "what kustomize makes")


# -- the long form


def plays_the_dockerfile() -> str:
    return run([ROOT / "tools" / "docker-room"], seconds=1500).stdout.splitlines()[-1]


def main() -> int:
    with Suite("containers") as suite:
        suite.run("the Dockerfile", dockerfile)
        suite.run("the Compose file", compose, suite.folder)
        authority = Authority(suite.folder)
        for role in ("dest", "source"):
            suite.run(f"Kubernetes: the {role}", manifests, suite.folder, authority, role)
        suite.run("Kubernetes: both ends", both_ends_meet)
        if LONG:
            suite.run("the Dockerfile's steps in a Debian 13 root", plays_the_dockerfile)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
