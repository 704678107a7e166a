"""The chart of a run, as SVG: how utun does beside the others. Readable on light and on dark."""

from __future__ import annotations

from xml.sax.saxutils import escape

import forwarding
import udp
from results import SUBJECT, Results

PANELS = {
    "bulk up, 1 stream": "bulk, client to server",
    "bulk down, 1 stream": "bulk, server to client",
    "new connections": "new connections",
    "keep-alive requests": "keep-alive requests",
    "ping-pong p50": "ping-pong, median (less is better)",
    "UDP, 32 clients": "UDP request/response",
}
NOTES = {forwarding.COPY_LOOP: "bare copy loop", "haproxy": "HAProxy, plain"}

WIDTH, COLUMNS = 840, 2
LABEL, BAR, ROW, GAP = 112, 190, 19, 34
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #57606a }
.heading { font-weight: 600; fill: #24292f }
.mine { font-weight: 600; fill: #0550ae }
rect { fill: #afb8c1 }
rect.mine { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #8b949e }
  .heading { fill: #e6edf3 }
  .mine { fill: #79c0ff }
  rect { fill: #484f58 }
  rect.mine { fill: #388bfd }
}
""".strip()


def panel(results: Results, what: str, title: str, x: int, y: int) -> tuple[list[str], int]:
    """Its lines, and how high it is. Direct connections are no forwarder and stay away."""
    series = results.series[what]
    names = [
        name
        for name in (*forwarding.COMPARED, *udp.COMPARED)
        if name != "direct" and series.has(name)
    ]
    names = list(dict.fromkeys(names))
    most = max(series.median(name) for name in names)
    lines = [f'<text class="heading" x="{x}" y="{y}">{escape(title)}</text>']
    for number, name in enumerate(names):
        top = y + 10 + number * ROW
        mine = ' class="mine"' if name == SUBJECT else ""
        value = series.median(name)
        length = max(1, round(BAR * value / most))
        label = escape(NOTES.get(name, name))
        lines += [
            f'<text{mine} x="{x + LABEL - 8}" y="{top + 12}" text-anchor="end">{label}</text>',
            f'<rect{mine} x="{x + LABEL}" y="{top + 2}" width="{length}" height="{ROW - 6}"/>',
            f'<text{mine} x="{x + LABEL + length + 6}" y="{top + 12}">'
            f"{escape(series.text(value))}</text>",
        ]
    return lines, 10 + len(names) * ROW + GAP


def draw(results: Results) -> str:
    body: list[str] = []
    y = 20
    titles = [(what, title) for what, title in PANELS.items() if what in results.series]
    titles = [one for one in titles if results.series[one[0]].has(SUBJECT)]
    for first in range(0, len(titles), COLUMNS):
        heights = [0]
        for column, (what, title) in enumerate(titles[first : first + COLUMNS]):
            lines, height = panel(results, what, title, 10 + column * WIDTH // COLUMNS, y)
            body += lines
            heights.append(height)
        y += max(heights)
    label = "utun beside ssh -L, stunnel, HAProxy, a bare copy loop and ss-tunnel"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{label}">'
    )
    return "\n".join([head, f"<style>\n{STYLE}\n</style>", *body, "</svg>"]) + "\n"
