"""Compare fine-tuning methods on four tasks: score, trained weights, time and memory.

    python benchmarks/fine_tuning.py --data-dir DATA
    python benchmarks/fine_tuning.py --data-dir DATA --task phishing --way lora

The methods: all layers; the last two layers; the pooler and the head; LoRA of rank 8 on every matrix; and all layers
with layer-wise methods. Each runs in its own process with the defaults of the recipe, except the learning rate, which
is the same for all tasks of a method. DATA (default: $TFHUB_FT_DATA) contains a folder per dataset. The best epoch is
selected on validation; the test rows are scored once. Run it on an idle machine. With --task or --way, the other
figures are kept.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import RESULTS, keep

TASKS = {
    "phishing": ("phishing", {"data": "phishing_urls/urls_3000.csv"}, {"epochs": 6}, "accuracy"),
    "spam": ("spam", {"data": "sms_spam/sms.csv"}, {}, "f1"),
    "pair": ("pair", {"train": "rte/train.csv", "test": "rte/validation.csv"}, {}, "accuracy"),
    "similarity": (
        "similarity",
        {"train": "stsb/train.csv", "validation": "stsb/validation.csv", "test": "stsb/test.csv"},
        {"mode": "bi-encoder"},
        "pearson",
    ),
}
EVERY_MATRIX = "query,key,value,attention_output,intermediate,output,pooler"
WAYS = {
    "full": {"freeze": "none", "learning_rate": 1e-4},
    "last two layers": {"freeze": "all-but-2", "learning_rate": 3e-4},
    "head": {"freeze": "all-but-pooler", "learning_rate": 1e-3},
    "lora": {"freeze": "none", "learning_rate": 1e-3, "lora_rank": 8, "lora_targets": EVERY_MATRIX},
    "layer decay": {"freeze": "none", "learning_rate": 1e-4, "layer_decay": 0.8},
    "unfreezing": {"freeze": "none", "learning_rate": 1e-4, "unfreeze": "0,2,all"},
    "top layer re-initialized": {"freeze": "none", "learning_rate": 1e-4, "reinit_layers": 1},
    "recomputation": {"freeze": "none", "learning_rate": 1e-4, "recompute": True},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    if options.alone:
        print(json.dumps(trained(options.task, options.way, Path(options.data_dir), options.seed)))
        return
    name = f"fine_tuning_seed{options.seed}"
    kept = RESULTS / f"{name}.json"
    figures = json.loads(kept.read_text())["tasks"] if kept.exists() else {}
    for task in [options.task] if options.task else TASKS:
        for way in [options.way] if options.way else WAYS:
            figures.setdefault(task, {})[way] = in_its_process(task, way, options)
            keep(name, {"ways": WAYS, "tasks": figures})


def in_its_process(task, way, options):
    command = [sys.executable, __file__, "--data-dir", str(options.data_dir), "--seed", str(options.seed)]
    done = subprocess.run(
        [*command, "--task", task, "--way", way, "--alone"], stdout=subprocess.PIPE, text=True, check=True
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    print(task, way, figures, file=sys.stderr, flush=True)
    return figures


def trained(task, way, data_dir, seed):
    import tfhub_ft

    recipe, files, settings, score = TASKS[task]
    files = {split: data_dir / file for split, file in files.items()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = tfhub_ft.train(recipe, output_dir=Path(folder) / "run", seed=seed, **files, **{**settings, **WAYS[way]})
        seconds = time.perf_counter() - began
        with (run.path / "history.csv").open(newline="") as history:
            epochs = [float(row["seconds"]) for row in csv.DictReader(history)]
        return {
            score: round(run.metrics["test"][score], 4),
            "trained_weights": run.metrics["train"]["trained_weights"],
            "seconds": round(seconds, 1),
            "later_epoch_seconds": round(min(epochs), 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }


if __name__ == "__main__":
    main()
