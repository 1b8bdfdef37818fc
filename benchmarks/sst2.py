"""Measure the accuracy on the Stanford Sentiment Treebank with the defaults of the recipe.

    python benchmarks/sst2.py --data-dir DATA                                        # 3 epochs on 6,920 sentences
    python benchmarks/sst2.py --data-dir DATA --train-file train_phrases.csv --epochs 1   # on 67,349 phrases

DATA (default: $TFHUB_FT_DATA) contains sst2/train.csv, validation.csv, test.csv and train_phrases.csv with the columns
text and label. The best epoch is selected on validation; the test rows are scored once, at the end.
"""

import argparse
import os
import resource
import time
from pathlib import Path

from machine import keep

import tfhub_ft


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--train-file", default="train.csv")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path)
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    folder = Path(options.data_dir) / "sst2"
    files = {"train": folder / options.train_file, **{n: folder / f"{n}.csv" for n in ("validation", "test")}}
    name = f"sst2_{Path(options.train_file).stem}_seed{options.seed}"
    began = time.perf_counter()
    run = tfhub_ft.train(
        "sentiment", output_dir=options.output_dir or f"runs/{name}", epochs=options.epochs, seed=options.seed, **files
    )
    scores = ("accuracy", "f1_macro", "roc_auc", "log_loss")
    keep(
        name,
        {
            "settings": run.settings.as_dict() | {k: f"sst2/{v.name}" for k, v in files.items()},
            "train": run.metrics["train"],
            **{split: {s: run.metrics[split][s] for s in scores} for split in ("validation", "test")},
            "seconds": round(time.perf_counter() - began, 1),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )


if __name__ == "__main__":
    main()
