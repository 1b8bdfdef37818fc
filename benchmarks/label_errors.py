"""Measure how many wrong labels `inspect` ranks first.

    python benchmarks/label_errors.py --data-dir DATA

A model is trained on some rows of ag_news or sst2. Of other rows, 5% get another label at random, and `inspect` ranks
all of them. The figures are the share of the changed rows among the first 5% and 10% of the rows, and the precision and
recall of the reason "label looks wrong". Labels of the data set that were wrong before count as right.
"""

import argparse
import csv
import os
import random
import tempfile
from pathlib import Path

from machine import keep

import tfhub_ft
from tfhub_ft.evaluation.inspect_rows import WRONG

RECIPES = {"ag_news": "topic", "sst2": "sentiment"}
CHANGED_SHARE = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--data", choices=RECIPES, default="ag_news")
    parser.add_argument("--train-rows", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    with (Path(options.data_dir) / options.data / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = random.Random(options.seed)
    rng.shuffle(rows)
    training, inspected = rows[: options.train_rows], rows[options.train_rows :][: options.rows]
    labels = sorted({row["label"] for row in rows})
    changed = {*rng.sample(range(len(inspected)), round(CHANGED_SHARE * len(inspected)))}
    for number in changed:
        others = [label for label in labels if label != inspected[number]["label"]]
        inspected[number] = {**inspected[number], "label": rng.choice(others)}
    with tempfile.TemporaryDirectory() as folder:
        run = tfhub_ft.train(
            RECIPES[options.data],
            data=training,
            epochs=options.epochs,
            seed=options.seed,
            output_dir=Path(folder) / "run",
        )
        ranked = tfhub_ft.inspect(run, data=inspected)
        accuracy = run.metrics["test"]["accuracy"]
    order = [row["line"] for row in ranked]
    flagged = {row["line"] for row in ranked if WRONG in row["reasons"]}
    figures = {
        "data": options.data,
        "train_rows": len(training),
        "rows": len(inspected),
        "changed": len(changed),
        "accuracy_of_the_model": accuracy,
        "found_in_first_5_percent": share(changed, order[: len(order) // 20]),
        "found_in_first_10_percent": share(changed, order[: len(order) // 10]),
        "looks_wrong": {
            "rows": len(flagged),
            "precision": len(flagged & changed) / max(1, len(flagged)),
            "recall": share(changed, flagged),
        },
    }
    keep(f"label_errors_{options.data}", figures)


def share(changed, numbers):
    """Return the share of the changed rows that are among these numbers."""
    return len(changed & {*numbers}) / len(changed)


if __name__ == "__main__":
    main()
