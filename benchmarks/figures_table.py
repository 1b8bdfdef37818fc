"""Write the README's table of tfhub_ft and its baselines from benchmarks/results.

    python benchmarks/figures_table.py

The table is written between two comments of the README. Rows that were not measured are left out.
"""

import json
import sys
from pathlib import Path

from machine import RESULTS
from rows import ROWS

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- figures: made by python benchmarks/figures_table.py -->", "<!-- end of figures -->"
HEADER = ["Benchmark", "tfhub_ft", "Baseline", "Ratio"]
FORMATS = {
    "work_seconds": "{:.1f} s",
    "predict_seconds": "{:.2f} s",
    "one_text_p50_ms": "{:.2f} ms",
    "test_accuracy": "{:.4f}",
}


def main():
    results = {name: read_results(name) for name in ROWS}
    if not any(results.values()):
        sys.exit(f"{RESULTS}: no comparison found; run python benchmarks/compare_peers.py all")
    every = [result for found in results.values() for result in found]
    lines = [line for name, found in results.items() for result in found for line in lines_of(name, result)]
    table = [table_row(HEADER), table_row(["---"] * len(HEADER)), *map(table_row, lines)]
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    block = "\n".join(["", *measured_on(every), "", *table, ""])
    README.write_text(f"{before}{START}{block}{END}{after}", encoding="utf-8")


def read_results(name):
    """Return the results of a row, one for each measured set of options."""
    files = sorted(RESULTS.glob(f"{name.replace('-', '_')}*.json"))
    return [result for file in files if (result := json.loads(file.read_text())).get("row") == name]


def measured_on(results):
    """Return a sentence for each machine, with the days of its measurements."""
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
    row = ROWS[name]
    center, comparison = ("mean", "points_ahead") if row.is_score else ("median", "times_as_fast")
    figure = FORMATS[result["measure"]].format
    benchmark = ", ".join([row.what, *result["options"].values()])
    labels = {side.name: side.label for side in row.sides}
    mine = result["sides"]["tfhub_ft"]
    lines = []
    for peer, value in result[comparison].items():
        side = result["sides"][peer]
        label = labels[peer] + (" (extrapolated)" if "extrapolated" in side else "")
        ratio = f"{value:+.2f} points" if row.is_score else f"{value:.2f}"
        lines.append([benchmark, figure(mine[center]), f"{label}: {figure(side[center])}", ratio])
        if name == "sst2-epoch":
            memory, peer_memory = (each["medians"]["peak_memory_mb"] for each in (mine, side))
            lines.append(
                [
                    "its peak memory",
                    f"{memory:,.0f} MB",
                    f"{label}: {peer_memory:,.0f} MB",
                    f"{peer_memory / memory:.2f}",
                ]
            )
    return lines


def limit_lines(result):
    lines = []
    for epoch, sides in result["shares"].items():
        mine, *shares = (share["of_bfloat16"] for share in sides.values())
        benchmark = f"share of the machine's bfloat16 limit, {ROWS[epoch.replace('_', '-')].what}"
        lines += [
            [benchmark, f"{mine:.0%}", f"{label}: {share:.0%}", f"{mine / share:.2f}"]
            for label, share in zip(list(sides)[1:], shares, strict=True)
        ]
    return lines


def table_row(cells):
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
