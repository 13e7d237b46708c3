"""Growth with size, as a picture: in come the JSON files of `bench.match` and `bench.retro`, out comes an SVG.

    .venv/bin/python -m bench.plot bench/out/match.json bench/out/retro.json --out docs/performance.svg

Both axes are logarithmic: a line that rises by one step for one step to the right is proportional to the size.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 420, 70, 60, 40, 250
SIZES = {"1k": 1e3, "10k": 1e4, "100k": 1e5, "1m": 1e6, "10m": 1e7}
# figure with SIZE for the size -> what it is called, and its colour and dashes, told apart without colours too
LINES = {
    "match.ms_one_SIZE": ("one probe, enrolled templates", "#0b5fa5", "none"),
    "retro.ms_SIZE": ("one template, kept faces", "#b3420a", "none"),
    "retro.ms_read_SIZE": ("reading the 8-bit codes once", "#6b6b6b", "2 4"),
    "retro.ms_SIZE_64": ("64 templates, kept faces", "#5b2a86", "8 4"),
    "retro.faiss_ms_SIZE_64": ("64 templates, bare FAISS", "#2d7a3a", "2 4"),
}


def collect(figures: dict[str, float]) -> dict[str, list[tuple[float, float]]]:
    """For each line the (size, milliseconds) that were measured, by size."""
    found: dict[str, list[tuple[float, float]]] = {}
    for pattern in LINES:
        expression = re.compile(re.escape(pattern).replace("SIZE", "(1k|10k|100k|1m|10m)"))
        points = [(SIZES[match[1]], value) for name, value in figures.items() if (match := expression.fullmatch(name))]
        if points:
            found[pattern] = sorted(points)
    return found


def draw(lines: dict[str, list[tuple[float, float]]], caption: str) -> str:
    """The SVG. Raises ValueError where nothing was measured."""
    points = [point for each in lines.values() for point in each]
    if not points:
        raise ValueError("no figure of these files is known here")
    low_x, high_x = (
        math.floor(math.log10(min(x for x, _ in points))),
        math.ceil(math.log10(max(x for x, _ in points))),
    )
    low_y, high_y = (
        math.floor(math.log10(min(y for _, y in points))),
        math.ceil(math.log10(max(y for _, y in points))),
    )

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / max(1, high_x - low_x)
        up = (math.log10(y) - low_y) / max(1, high_y - low_y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif"',
        f' font-size="12"><title>Milliseconds by number of faces</title><desc>{caption}</desc>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    edge = WIDTH - RIGHT
    for power in range(low_x, high_x + 1):
        x, bottom = place(10.0**power, 10.0**low_y)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{10**power:,}</text>')
    for power in range(low_y, high_y + 1):
        left, y = place(10.0**low_x, 10.0**power)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{edge}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
    for number, (pattern, each) in enumerate(lines.items()):
        name, colour, dashes = LINES[pattern]
        places = [place(*point) for point in each]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        legend, line = TOP + 10 + 34 * number, f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        parts.append(f'<path d="{path}" fill="none" {line}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(f'<path d="M{edge + 15} {legend}h24" {line}/>')
        parts.append(f'<text x="{edge + 45}" y="{legend + 4}">{name}</text>')
    parts.append(f'<text x="{(LEFT + edge) / 2}" y="{HEIGHT - 14}" text-anchor="middle">faces</text></svg>')
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="JSON of bench.match and bench.retro")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    tables: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in args.files]
    figures = {name: float(value) for table in tables for name, value in table["figures"].items()}
    machine = tables[0]["machine"]
    try:
        picture = draw(collect(figures), f"{machine['cpu']}, {machine['cores']} cores; both axes logarithmic")
    except ValueError as exc:
        parser.error(str(exc))
    args.out.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
