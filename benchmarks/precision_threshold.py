"""Measure how often the threshold for a wanted precision keeps it on new rows, how often none is found, and its recall.

    python benchmarks/precision_threshold.py

Validation rows are drawn 1,000 times from pools of scores of spam, phishing and sentiment models. Precision and recall
of each threshold are measured on the whole pool. A violation is a threshold that was accepted and misses the wanted
precision.

    python benchmarks/precision_threshold.py --make-pools --data-dir DATA

trains the three models again, on rows outside the pools, and writes the pools.
"""

import argparse
import csv
import os
import random
import tempfile
from pathlib import Path

import numpy as np
from machine import keep

from tfhub_ft.metrics.thresholds import threshold_for_precision

POOLS = Path(__file__).parents[1] / "tests" / "unit" / "metrics" / "score_pools.csv"
POOL_ROWS, DRAWS = 2000, 1000
SIZES, WANTED = (180, 360, 700), (0.8, 0.9, 0.95, 0.98)
# The recipe of each pool, its file, training rows, positive label and settings.
MODELS = {
    "spam": ("spam", "sms_spam/sms.csv", 1500, "spam", {"epochs": 3}),
    "phishing": ("phishing", "phishing_urls/urls_20000.csv", 3000, "phishing", {}),
    "sentiment": ("sentiment", "sst2/train.csv", 2000, "positive", {"epochs": 2}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make-pools", action="store_true")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    if options.make_pools:
        if not options.data_dir:
            parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
        make_pools(options.data_dir)
        return
    table = []
    print(f"{'pool':10} {'rows':>5} {'wanted':>7} {'violations':>11} {'refused':>8} {'recall':>7} {'best recall':>12}")
    for pool, (scores, truth) in read_pools().items():
        for wanted in WANTED:
            for size in SIZES:
                row = redrawn(scores, truth, wanted, size, options.draws)
                recall = "-" if row["recall"] is None else f"{row['recall']:.3f}"
                print(
                    f"{pool:10} {size:5} {wanted:7} {row['violations']:11.1%} {row['refused']:8.1%}"
                    f" {recall:>7} {row['best_recall']:12.3f}"
                )
                table.append({"pool": pool, "rows": size, "wanted": wanted, **row})
    keep("precision_threshold", {"draws": options.draws, "table": table})


def redrawn(scores, truth, wanted, size, draws, seed=0):
    """Return the shares of `draws` validation sets of `size` rows, and the mean recall of accepted thresholds."""
    rng, violations, refused, recalls = np.random.default_rng(seed), 0, 0, []
    for _ in range(draws):
        rows = rng.choice(len(scores), size, replace=False)
        chosen = threshold_for_precision(scores[rows], truth[rows], wanted=wanted)
        if not chosen["is_confident"]:
            refused += 1
            continue
        flagged = scores >= chosen["threshold"]
        violations += truth[flagged].mean() < wanted
        recalls.append(truth[flagged].sum() / truth.sum())
    return {
        "violations": violations / draws,
        "refused": refused / draws,
        "recall": float(np.mean(recalls)) if recalls else None,
        "best_recall": best_recall(scores, truth, wanted),
    }


def best_recall(scores, truth, wanted):
    """Return the recall of the best threshold on the whole pool."""
    right = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    keeps = np.flatnonzero(right / np.arange(1, len(right) + 1) >= wanted)
    return float(right[keeps[-1]] / truth.sum()) if len(keeps) else 0.0


def read_pools():
    """Return (scores, truth) by pool."""
    with POOLS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        pool: (
            np.array([float(row["score"]) for row in rows if row["pool"] == pool]),
            np.array([int(row["positive"]) for row in rows if row["pool"] == pool]),
        )
        for pool in dict.fromkeys(row["pool"] for row in rows)
    }


def make_pools(data_dir):
    import tfhub_ft

    with tempfile.TemporaryDirectory() as folder:
        pools = []
        for pool, (recipe, file, count, positive, settings) in MODELS.items():
            with (data_dir / file).open(newline="") as opened:
                rows = list({row["text"].strip().casefold(): row for row in csv.DictReader(opened)}.values())
            random.Random(0).shuffle(rows)
            train, held_out = Path(folder) / f"{pool}.csv", rows[count : count + POOL_ROWS]
            with train.open("w", newline="") as opened:
                writer = csv.DictWriter(opened, ["text", "label"], extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows[:count])
            run = tfhub_ft.train(recipe, train=train, output_dir=Path(folder) / pool, **settings)
            answers = tfhub_ft.predict(run, [row["text"] for row in held_out], precision="auto")
            for row, answer in zip(held_out, answers):
                score = answer["probabilities"][positive]
                pools.append({"pool": pool, "score": f"{score:.6g}", "positive": int(row["label"] == positive)})
    with POOLS.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(pools[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(pools)


if __name__ == "__main__":
    main()
