"""Measure the artifacts of an export on a run's test rows: size, memory, latency, accuracy, agreement.

    python benchmarks/forms.py runs/distillation_phishing_seed0_teacher
    python benchmarks/forms.py runs/distillation_sst2_seed0_teacher

RUN is a finished run of a classifier, such as the teachers of `distillation.py`. Run it on an idle machine.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from machine import keep

import tfhub_ft
from tfhub_ft.data.rows import read_all
from tfhub_ft.run import Run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exports, rows = Path(folder) / "forms", Path(folder) / "test.csv"
        count = write_test_rows(Run(options.run), rows)
        tfhub_ft.export(
            options.run, output_dir=exports, formats=("saved_model", "tflite"), quantize=("none", "dynamic")
        )
        forms = tfhub_ft.benchmark(exports, data=rows)
    exact, dynamic = (
        next(form for form in forms if form["form"] == "tflite" and form["quantization"] == quantization)
        for quantization in ("none", "dynamic")
    )
    keep(
        f"forms_{options.run.name}",
        {
            "test_rows": count,
            "dynamic_beside_fp32": {
                "bytes": round(dynamic["bytes"] / exact["bytes"], 4),
                "latency": round(dynamic["latency_ms"]["p50"] / exact["latency_ms"]["p50"], 4),
                "accuracy": round(dynamic["scores"]["accuracy"] - exact["scores"]["accuracy"], 4),
            },
            "forms": forms,
        },
    )


def write_test_rows(run, path):
    """Write a run's test rows to a csv file and return their number."""
    split = run.splits["test"]
    lines = set(split.get("lines", ()))
    rows = [
        row for row in read_all(split["file"], run.recipe.task.columns(run.settings)) if not lines or row.line in lines
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([row.values["text"], row.values["label"]] for row in rows)
    return len(rows)


if __name__ == "__main__":
    main()
