"""Compare training with and without balanced class weights on uneven labels.

    python benchmarks/balanced_weights.py --data-dir DATA

The training rows of AG News are cut to 2,000, 500, 200 and 50 rows a label, drawn with each seed. The recipe `topic`
trains on them with `--class-weight none` and `balanced`; both select the best epoch by the macro F1 of the validation
rows, 15% of the cut rows. The test rows are scored once. A training run whose figures are in the result is not
repeated, so an interrupted benchmark continues; remove the file to start again.
"""

import argparse
import csv
import json
import os
import random
import tempfile
from pathlib import Path

import numpy as np
from machine import RESULTS, keep

import tfhub_ft

NAME, WEIGHTS = "balanced_weights", ("none", "balanced")
SCORES = ("f1_macro", "accuracy", "log_loss")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--rows", type=int, nargs=4, default=[2000, 500, 200, 50], metavar="N", help="Rows of each label."
    )
    parser.add_argument("--test-rows", type=int, help="Test rows of each label; by default all.")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Folder of the result.")
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    folder = Path(options.data_dir) / "ag_news"
    path = options.results / f"{NAME}.json"
    setup = {name: getattr(options, name) for name in ("rows", "test_rows", "epochs", "encoder")}
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**setup, "runs": []}
    if {name: result[name] for name in setup} != setup:
        parser.error(f"{path} has figures of other options; remove it")
    runs = result["runs"]
    for seed in range(options.seeds):
        for weight in WEIGHTS:
            if not any((run["seed"], run["class_weight"]) == (seed, weight) for run in runs):
                runs.append(trained(folder, seed, weight, options))
                keep(NAME, {**setup, "summary": summary(runs), "runs": runs}, options.results)


def trained(folder, seed, weight, options):
    """Return the test scores of a training run on rows that are drawn with the seed."""
    with tempfile.TemporaryDirectory() as scratch:
        train, test = (Path(scratch) / f"{name}.csv" for name in ("train", "test"))
        labels = write_cut(folder / "train.csv", train, options.rows, seed)
        write_cut(folder / "test.csv", test, [options.test_rows] * len(labels), 0)
        run = tfhub_ft.train(
            "topic",
            train=train,
            test=test,
            output_dir=Path(scratch) / "run",
            encoder=options.encoder,
            epochs=options.epochs,
            monitor="f1_macro",
            class_weight=weight,
            seed=seed,
        )
        scores = run.metrics["test"]
    recall = {label: scores["per_class"][label]["recall"] for label in labels}
    return {
        "seed": seed,
        "class_weight": weight,
        "train_rows": dict(zip(labels, options.rows, strict=True)),
        "test_rows": scores["rows"],
        **{name: scores[name] for name in SCORES},
        "recall": recall,
    }


def write_cut(source, target, counts, seed):
    """Write some rows of each label, in the order of the labels, to another file; a count of None keeps all."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    random.Random(seed).shuffle(rows)
    chosen = [row for label, n in zip(labels, counts) for row in [row for row in rows if row["label"] == label][:n]]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(chosen)
    return labels


def summary(runs):
    """Return the mean and the sample standard deviation of each score by class weight."""
    table = {}
    for weight in WEIGHTS:
        values = [run for run in runs if run["class_weight"] == weight]
        for name in SCORES if values else ():
            scores = [run[name] for run in values]
            deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
            table.setdefault(weight, {})[name] = {"mean": float(np.mean(scores)), "deviation": deviation}
    return table


if __name__ == "__main__":
    main()
