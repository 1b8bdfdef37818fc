"""Compare the ways to read long texts where a neutral paragraph precedes each sentence of SST-2.

    python benchmarks/long_texts.py --data-dir DATA

A row is a paragraph of XQuAD with 200 to 400 tokens, which says nothing about the label, and a sentence of SST-2 after
it. The paragraphs of training, validation and test rows are different. The same rows train the recipe sentiment with
each value of --long-texts, with 128 tokens in a row or a window.
"""

import argparse
import csv
import json
import os
import random
import tempfile
import time
from pathlib import Path

from machine import keep

TOKENS, SEQ_LENGTH, SEED = (200, 400), 128, 0
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}
MODES = {
    "truncate": {"long_texts": "truncate"},
    "head-tail": {"long_texts": "head-tail"},
    "windows-mean": {"long_texts": "windows", "window_pooling": "mean"},
    "windows-max": {"long_texts": "windows", "window_pooling": "max"},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--train-rows", type=int, default=1500)
    parser.add_argument("--validation-rows", type=int, default=200)
    parser.add_argument("--test-rows", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--modes", default=",".join(MODES), help=f"Some of {', '.join(MODES)}.")
    parser.add_argument("--rows-dir", type=Path, help="Folder to keep the rows in.")
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    counts = {split: getattr(options, f"{split}_rows") for split in SPLITS}
    with tempfile.TemporaryDirectory() as scratch:
        rows = options.rows_dir or Path(scratch) / "rows"
        files, lengths = write_rows(options.data_dir, rows, counts, options.encoder)
        results = {}
        for mode in options.modes.split(","):
            results[mode] = train(files, Path(scratch) / mode, options, MODES[mode])
            print(f"{mode}: test accuracy {results[mode]['test_accuracy']:.3f}", flush=True)
        settings = {"encoder": options.encoder, "seq_length": SEQ_LENGTH, "epochs": options.epochs, "seed": SEED}
        keep("long_texts", {"rows": counts, "tokens": lengths, "settings": settings, "results": results})


def write_rows(data_dir, folder, counts, encoder):
    """Write {split}.csv of each split; return the files, and the least, median and most tokens of a training row."""
    rng, files = random.Random(SEED), {}
    paragraphs = neutral_paragraphs(data_dir / "xquad_en" / "test.json", encoder)
    rng.shuffle(paragraphs)
    folder.mkdir(parents=True, exist_ok=True)
    start, texts = 0, []
    for split, share in SPLITS.items():
        end = start + round(share * len(paragraphs))
        with (data_dir / "sst2" / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            sentences = list(csv.DictReader(file))
        rng.shuffle(sentences)
        files[split] = folder / f"{split}.csv"
        with files[split].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for sentence in sentences[: counts[split]]:
                text = f"{rng.choice(paragraphs[start:end])} {sentence['text']}"
                writer.writerow([text, sentence["label"]])
                texts += [text] * (split == "train")
        start = end
    lengths = sorted(token_counts(texts, encoder))
    return files, {"least": lengths[0], "median": lengths[len(lengths) // 2], "most": lengths[-1]}


def neutral_paragraphs(file, encoder):
    """Return the paragraphs of a SQuAD file with 200 to 400 tokens."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    texts = [" ".join(paragraph["context"].split()) for article in articles for paragraph in article["paragraphs"]]
    return [text for text, tokens in zip(texts, token_counts(texts, encoder)) if TOKENS[0] <= tokens <= TOKENS[1]]


def token_counts(texts, encoder):
    """Return the number of tokens of each text, without [CLS] and [SEP]."""
    import tensorflow as tf

    from tfhub_ft import HubPreprocessor

    mask = HubPreprocessor(encoder, seq_length=2000)(texts)["input_mask"]
    return (tf.reduce_sum(mask, 1) - 2).numpy().tolist()


def train(files, folder, options, settings):
    import tfhub_ft

    start = time.perf_counter()
    run = tfhub_ft.train(
        "sentiment",
        output_dir=folder,
        encoder=options.encoder,
        epochs=options.epochs,
        seq_length=SEQ_LENGTH,
        seed=SEED,
        **files,
        **settings,
    )
    test = run.metrics["test"]
    return {
        **settings,
        "test_accuracy": test["accuracy"],
        "interval": test["intervals"]["accuracy"],
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    main()
