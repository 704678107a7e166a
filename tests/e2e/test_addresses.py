#!/usr/bin/env python3
"""IPv6 and names at every place where an address stands, and many sources at one dest."""

from __future__ import annotations

import sys

from harness.echo import Conversation, Echo, exchange
from harness.process import Process
from harness.suite import Suite, check
from harness.utun import Authority, Pair, Service, dest_config, ready, source_config, start

SIZE = 1_000_000


def pair(suite: Suite, name: str, authority: Authority, echo: Echo, **options: object) -> Pair:
    service = Service(suite.ports.take(), echo.port, str(options.pop("target", echo.host)))
    return Pair(suite.folder, suite.ports, [service], authority, name=name, **options)


def ipv6_everywhere(suite: Suite, authority: Authority, echo: Echo) -> None:
    changes = {
        "source_changes": {"source": {"listen_ip": "::1", "dest_host": "::1"}},
        "dest_changes": {"dest": {"listen_ip": "::1"}},
    }
    with pair(suite, "ipv6", authority, echo, **changes) as tunnel:
        exchange(tunnel.services[0].port, SIZE, "::1")


def both_families(suite: Suite, authority: Authority, echo: Echo) -> None:
    changes = {
        "source_changes": {"source": {"listen_ip": "::"}},
        "dest_changes": {"dest": {"listen_ip": "::"}},
    }
    with pair(suite, "any", authority, echo, **changes) as tunnel:
        for host in ("127.0.0.1", "::1"):
            exchange(tunnel.services[0].port, SIZE, host)


def names(suite: Suite, authority: Authority, echo: Echo) -> None:
    """A name for the dest, checked against its certificate, and one for the target."""
    changes = {"source_changes": {"source": {"dest_host": "localhost"}}, "target": "localhost"}
    with pair(suite, "names", authority, echo, **changes) as tunnel:
        exchange(tunnel.services[0].port, SIZE)


def target_comes_later(suite: Suite, authority: Authority) -> None:
    """A target that is down when the dest starts is nobody's problem until somebody asks."""
    echo = Echo(suite.folder, suite.ports, name="late")
    with pair(suite, "late", authority, echo) as tunnel:
        port = tunnel.services[0].port
        try:
            exchange(port, 10)
        except ConnectionError:
            pass
        else:
            raise AssertionError("served although nothing listens")
        with echo:
            exchange(port, SIZE)


def many_sources(suite: Suite, authority: Authority, echo: Echo, other: Echo) -> None:
    """Three sources with ports of their own; what happens to one does not reach the others."""
    tunnel_port = suite.ports.take()
    first, second = Service(suite.ports.take(), echo.port), Service(suite.ports.take(), other.port)
    config = dest_config(tunnel_port, [first, second], authority)
    sources: list[Process] = []
    with ready(start("dest", "many-dest", suite.folder, config)) as dest:
        # Services are named by their port, so each source listens on an address of its own.
        for number in (1, 2, 3):
            changes = {"source": {"listen_ip": f"127.0.0.{number}"}}
            table = source_config(tunnel_port, [first.port, second.port], authority, changes)
            sources.append(ready(start("source", f"many-{number}", suite.folder, table)))
        hosts = [f"127.0.0.{number}" for number in (1, 2, 3)]
        talks = [Conversation(first.port, host) for host in hosts]
        for host, talk in zip(hosts, talks):
            talk.say(host.encode() * 1000)
            exchange(second.port, SIZE, host)
        sources[1].popen.kill()
        sources[1].wait()
        for survivor in (0, 2):
            talks[survivor].say(b"still here" * 1000)
            talks[survivor].finish()
            exchange(first.port, SIZE, hosts[survivor])
        talks[1].sock.close()
        check(dest.is_running(), "the dest ended")
        for source in (sources[0], sources[2]):
            check(source.stop() == 0, f"{source.name} ended with {source.popen.returncode}")
        check(dest.stop() == 0, f"the dest ended with {dest.popen.returncode}")


def main() -> int:
    with Suite("addresses and sources") as suite:
        folder, ports = suite.folder, suite.ports
        authority = Authority(folder)
        with Echo(folder, ports, name="v4") as four, Echo(folder, ports, "::1", "v6") as six:
            suite.run("IPv6: clients, tunnel and target", ipv6_everywhere, suite, authority, six)
            suite.run('"::" takes both families', both_families, suite, authority, four)
            suite.run("names: of the dest, of the target", names, suite, authority, four)
            suite.run("a target that comes later", target_comes_later, suite, authority)
            with Echo(folder, ports, name="other") as other:
                suite.run("three sources", many_sources, suite, authority, four, other)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
