"""Each layer alone, by the programs of this folder that measure one."""

from __future__ import annotations

import re

from harness.process import run
from results import Results, say
from stand import Effort, tool


def measure(results: Results, effort: Effort) -> None:
    for name, words in {
        "bench_frame": (),
        "bench_crypto": (str(effort.bulk_mib),),
        "bench_engine": (str(effort.bulk_mib),),
    }.items():
        said = run([tool(name), *words], seconds=300).stdout
        for line in said.splitlines():
            parts = re.split(r"\s{2,}", line.strip())
            if len(parts) == 4 and not line.startswith("["):
                layer, what, value, unit = parts
                results.layers.append(
                    {"layer": layer, "what": what, "value": float(value), "unit": unit}
                )
        say(f"{name}: done")
