"""Compare an encoder before and after masked-LM adaptation, on phishing URLs.

    python benchmarks/adaptation.py --data-dir DATA

The recipe adapt trains on the URLs of phishing_urls/urls_20000 that are not in urls_3000, without their labels. The
recipe phishing then trains on urls_3000 with the original and with the adapted encoder, frozen except the pooler, with
the same settings and seed. DATA defaults to $TFHUB_FT_DATA.
"""

import argparse
import csv
import os
import time
from pathlib import Path

from machine import keep

import tfhub_ft


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    urls = Path(options.data_dir) / "phishing_urls"
    options.output_dir.mkdir(parents=True, exist_ok=True)
    texts = options.output_dir / "unlabeled_urls.txt"
    labeled = set(texts_of(urls / "urls_3000.csv"))
    others = [url for url in texts_of(urls / "urls_20000.csv") if url not in labeled]
    texts.write_text("".join(" ".join(url.lower().split()) + "\n" for url in others), encoding="utf-8")

    began = time.perf_counter()
    run = tfhub_ft.train("adapt", data=texts, output_dir=options.output_dir / "adapted", seed=options.seed, epochs=1)
    figures = {
        "texts": len(others),
        "adapt": {split: plain(scores) for split, scores in run.metrics.items()},
        "adapt_seconds": round(time.perf_counter() - began, 1),
    }
    for name, encoder in (("before", "minilm-l6"), ("after", run.path)):
        phishing = tfhub_ft.train(
            "phishing",
            data=urls / "urls_3000.csv",
            encoder=encoder,
            seed=options.seed,
            output_dir=options.output_dir / f"phishing-{name}",
        )
        figures[name] = {split: plain(scores) for split, scores in phishing.metrics.items()}
    keep(f"adaptation_seed{options.seed}", figures)


def texts_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def plain(scores):
    return {name: score for name, score in scores.items() if isinstance(score, int | float | None)}


if __name__ == "__main__":
    main()
