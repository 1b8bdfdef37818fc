"""Score each recipe on real data with its defaults and minilm-l6: one command per row of recipes/README.md.

    python benchmarks/recipe_scores.py spam --data-dir DATA
    python benchmarks/recipe_scores.py phishing --data-dir DATA --freeze all-but-2

DATA (default: $TFHUB_FT_DATA) contains a folder per dataset. The best epoch and every threshold are selected on
validation; the test rows are scored once, at the end.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import tempfile
import time
from pathlib import Path

import yaml
from machine import keep, show

import tfhub_ft
from tfhub_ft.data.rows import read_all
from tfhub_ft.metrics.span_scores import span_metrics

# The recipe of each row, its files (several are concatenated), and the settings that differ from its defaults.
ROWS = {
    "spam": ("spam", {"data": ["sms_spam/sms.csv"]}, {}),
    "phishing": ("phishing", {"data": ["phishing_urls/urls_3000.csv"]}, {}),
    "phishing-last-2": (
        "phishing",
        {"data": ["phishing_urls/urls_3000.csv"]},
        {"freeze": "all-but-2", "learning_rate": 3e-4, "epochs": 6},
    ),
    "phishing-full": (
        "phishing",
        {"data": ["phishing_urls/urls_3000.csv"]},
        {"freeze": "none", "learning_rate": 1e-4, "epochs": 6},
    ),
    "topic": ("topic", {"train": ["ag_news/train.csv"], "test": ["ag_news/test.csv"]}, {}),
    "intent": (
        "intent",
        {split: [f"clinc150/{split}.csv", f"clinc150/oos_{split}.csv"] for split in ("train", "validation", "test")},
        {},
    ),
    "pair": ("pair", {"train": ["rte/train.csv"], "test": ["rte/validation.csv"]}, {}),
    "similarity": (
        "similarity",
        {split: [f"stsb/{split}.csv"] for split in ("train", "validation", "test")},
        {"mode": "bi-encoder"},
    ),
    "similarity-pair": (
        "similarity",
        {split: [f"stsb/{split}.csv"] for split in ("train", "validation", "test")},
        {},
    ),
    "regression": (
        "regression",
        {split: [f"stsb/{split}.csv"] for split in ("train", "validation", "test")},
        {"text": "{sentence1} {sentence2}", "epochs": 2},
    ),
    "multilabel": (
        "multilabel",
        {split: [f"go_emotions/{split}.jsonl"] for split in ("train", "validation", "test")},
        {},
    ),
    "retrieval": (
        "retrieval",
        {"data": ["movie_dialog/pairs.jsonl"]},
        {"epochs": 2, "batch_size": 128, "learning_rate": 1e-4},
    ),
    "dialogue": ("dialogue", {"data": ["movie_dialog/pairs.jsonl"]}, {"epochs": 1, "seq_length": 256}),
    "ner": ("ner", {split: [f"wnut17/{split}.jsonl"] for split in ("train", "validation", "test")}, {}),
    "qa": (
        "qa",
        {"train": ["subjqa/train.json", "mlqa_en/train.json"], "test": ["xquad_en/test.json"]},
        {"epochs": 1},
    ),
}
# Rows that use a sample of this many lines, drawn with seed 0.
SAMPLED = {"dialogue": 5_000}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; writes no file")
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    recipe, files, settings = ROWS[options.row]
    tried = {name: yaml.safe_load(value) for name, value in (each.split("=", 1) for each in options.set)}
    name = "_".join([options.row.replace("-", "_"), f"seed{options.seed}", *options.set])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = {split: joined(Path(options.data_dir), parts, Path(folder)) for split, parts in files.items()}
        if options.row in SAMPLED:
            paths = {split: sampled(path, SAMPLED[options.row], Path(folder)) for split, path in paths.items()}
        run = tfhub_ft.train(
            recipe, output_dir=options.output_dir or f"runs/{name}", seed=options.seed, **paths, **{**settings, **tried}
        )
    (show if tried else keep)(
        name,
        {
            "settings": run.settings.as_dict() | {split: " + ".join(parts) for split, parts in files.items()},
            **{split: plain(scores) for split, scores in run.metrics.items()},
            **({"first_sentence": first_sentence_scores(run)} if recipe == "qa" else {}),
            "thresholds": run.thresholds,
            "seconds": round(time.perf_counter() - began, 1),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )


def joined(data_dir, parts, folder):
    """Return the file with that name, or write the rows of several SQuAD or csv files to one file."""
    if len(parts) == 1:
        return data_dir / parts[0]
    target = folder / Path(parts[0]).name
    if target.suffix == ".json":
        articles = [article for part in parts for article in json.loads((data_dir / part).read_text())["data"]]
        target.write_text(json.dumps({"data": articles}))
        return target
    shutil.copyfile(data_dir / parts[0], target)
    with target.open("ab") as file:
        for part in parts[1:]:
            file.write((data_dir / part).read_bytes().split(b"\n", 1)[1])
    return target


def sampled(path, count, folder):
    """Return a file with a sample of the lines of a file, drawn with seed 0."""
    lines = path.read_text(encoding="utf-8").splitlines()
    target = folder / path.name
    target.write_text("\n".join(random.Random(0).sample(lines, count)), encoding="utf-8")
    return target


def first_sentence_scores(run):
    """Return the scores of always answering with the first sentence of a passage."""
    task, file = run.recipe.task, run.splits["test"]["file"]
    rows = read_all(file, task.columns(run.settings))
    answers = [re.split(r"(?<=[.!?])\s", row.values["context"], maxsplit=1)[0] for row in rows]
    truth = [[answer["text"] for answer in row.values["answers"]] for row in rows]
    return {name: score for name, score in plain(span_metrics(answers, truth, answers)).items() if score is not None}


def plain(scores):
    return {name: score for name, score in scores.items() if isinstance(score, int | float | None)}


if __name__ == "__main__":
    main()
