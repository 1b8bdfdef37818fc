"""Writes the README's table of tfhub_ft beside its peers, from benchmarks/results.

    python benchmarks/figures_table.py

It stands between two comments of the README; a row that was not measured has no line.
"""

import json
import sys
from pathlib import Path

from machine import RESULTS
from rows import ROWS

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- figures: made by python benchmarks/figures_table.py -->", "<!-- end of figures -->"
HEADER = ["what", "tfhub_ft", "peer", "its figure", "tfhub_ft has"]
UNITS = {
    "work_seconds": ("{:.1f} s", "{:.2f}x its speed"),
    "predict_seconds": ("{:.2f} s", "{:.2f}x its speed"),
    "one_text_p50_ms": ("{:.2f} ms", "{:.2f}x its speed"),
    "test_accuracy": ("{:.4f}", "{:+.2f} points"),
}


def main():
    results = {name: read_results(name) for name in ROWS}
    if not any(results.values()):
        sys.exit(f"{RESULTS} holds no comparison yet: python benchmarks/compare_peers.py all measures them")
    every = [result for found in results.values() for result in found]
    lines = [line for name, found in results.items() for result in found for line in lines_of(name, result)]
    table = [row(HEADER), row(["---"] * len(HEADER)), *map(row, lines)]
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    block = "\n".join(["", *measured_on(every), "", *table, ""])
    README.write_text(f"{before}{START}{block}{END}{after}", encoding="utf-8")


def read_results(name):
    """The row's results, one for each choice of tfhub_ft's options that was measured."""
    files = sorted(RESULTS.glob(f"{name.replace('-', '_')}*.json"))
    return [result for file in files if (result := json.loads(file.read_text())).get("row") == name]


def measured_on(results):
    """A line for each machine, with its days."""
    days = {}
    for result in results:
        machine = result["machine"]
        instructions = ", ".join(machine["vector_instructions"])
        name = f"{machine['cores']} cores of {machine['processor']} ({instructions})"
        days.setdefault(name, set()).add(result["date"])
    return [f"Measured on {name}, {', '.join(sorted(days[name]))}." for name in sorted(days)]


def lines_of(name, result):
    if name == "matmul-limit":
        return limit_lines(result)
    mine = result["sides"]["tfhub_ft"]
    center, comparison = ("mean", "points_ahead") if ROWS[name].is_score else ("median", "times_as_fast")
    figure, ahead = UNITS[result["measure"]]
    what = ", ".join([result["what"], *result["options"].values()])
    lines = []
    for peer, value in result[comparison].items():
        side = result["sides"][peer]
        label = side["label"] + (" (extrapolated)" if "extrapolated" in side else "")
        lines.append([what, figure.format(mine[center]), label, figure.format(side[center]), ahead.format(value)])
        if name == "sst2-epoch":
            memory = [each["medians"]["peak_memory_mb"] for each in (mine, side)]
            shown = [f"{each:,.0f} MB" for each in memory]
            lines.append(["its peak memory", shown[0], label, shown[1], f"{memory[0] / memory[1]:.2f}x its memory"])
    return lines


def limit_lines(result):
    lines = []
    for epoch, sides in result["shares"].items():
        mine, *peers = [(label, f"{share['of_bfloat16']:.0%}") for label, share in sides.items()]
        what = f"share of the machine's limit in bfloat16 ({epoch})"
        lines += [[what, mine[1], label, share, ""] for label, share in peers]
    return lines


def row(cells):
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
