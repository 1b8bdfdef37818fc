"""Measure the data path without a model: rows and batches per second, and memory.

python benchmarks/data_path.py --rows 2000000

Another process writes random rows to a temporary csv or Parquet file (`--format`); row groups have 1,000,000 rows. They
are read and checked, split 70/15/15, and tokenized into a new cache. One epoch of training batches is then iterated.
Memory is sampled throughout: `anonymous` is the memory of the process, `with_files` includes mapped files, which the
system can reclaim. `--cached` repeats everything with the token ids in the cache.
"""

import argparse
import csv
import itertools
import multiprocessing
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from machine import keep

SENTENCES = (
    "a warm , funny film that will stay with you for years",
    "the plot is thin , the jokes are old and the actors look as bored as we were",
    "not what i expected but i ended up loving every minute of it",
    "an overlong and curiously lifeless adaptation of a much better book",
)
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


ROW_GROUP = 1_000_000


def make_rows(count):
    choose = random.Random(0)
    for number in range(count):
        text = " ".join(choose.choices(WORDS, k=min(60, 3 + int(choose.expovariate(1 / 16)))))
        yield f"{text} {number}", "good" if number % 3 else "bad"


def write_csv(path, count):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(make_rows(count))


def write_parquet(path, count):
    rows, schema = make_rows(count), pa.schema([("text", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        while part := [*itertools.islice(rows, ROW_GROUP)]:
            writer.write_table(pa.table([*zip(*part)], schema=schema))


WRITERS = {"csv": write_csv, "parquet": write_parquet}


class Memory:
    """Samples of this process, by phase, in MB."""

    def __init__(self):
        self.phase, self.samples, self.done, self.process = "start", {}, False, psutil.Process()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.done:
            self.sample()
            time.sleep(0.2)

    def sample(self):
        seen = self.process.memory_info()
        pair = ((seen.rss - seen.shared) / 2**20, seen.rss / 2**20)
        self.samples.setdefault(self.phase, []).append(pair)

    def peaks(self):
        found = {}
        for phase, samples in self.samples.items():
            anonymous, whole = (np.array(each) for each in zip(*samples))
            found[phase] = {
                "anonymous": round(anonymous.max()),
                "with_files": round(whole.max()),
                "anonymous_along_the_way": [round(part.max()) for part in np.array_split(anonymous, 5) if len(part)],
            }
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--format", choices=WRITERS, default="csv")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--seq-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=0)
    parser.add_argument("--cached", action="store_true")
    options = parser.parse_args()

    from tfhub_ft.data.batches import TrainingBatches
    from tfhub_ft.data.datasets import load_dataset
    from tfhub_ft.data.sequences import Mapped
    from tfhub_ft.encoders import HubPreprocessor
    from tfhub_ft.settings import TextSettings
    from tfhub_ft.tasks.classification import Classification

    preprocessor = HubPreprocessor(options.encoder, seq_length=options.seq_length)
    task, memory, seconds = Classification(), Memory(), {}

    def phase(name):
        now = time.perf_counter()
        if memory.phase != "start":
            seconds[memory.phase] = round(now - phase.began, 1)
        memory.phase, phase.began = name, now
        memory.sample()

    with tempfile.TemporaryDirectory() as folder:
        # The encoder comes from the user's cache; token ids go to a separate one.
        os.environ["TFHUB_FT_CACHE"] = folder
        file = Path(folder) / f"rows.{options.format}"
        process = multiprocessing.get_context("spawn").Process(
            target=WRITERS[options.format], args=(file, options.rows)
        )
        process.start()
        process.join()
        tokenized = 0
        for suffix in ("", "_again") if options.cached else ("",):
            phase("read_check_split" + suffix)
            data = load_dataset(task, TextSettings(data=str(file)), file)
            phase("tokenize" + suffix)
            tokens = {
                name: task.encode(preprocessor, Mapped(task.training_inputs, split.rows))
                for name, split in data.splits.items()
            }
            phase("batches" + suffix)
            batches = TrainingBatches(
                tokens["train"],
                data.targets["train"],
                batch_size=options.batch_size,
                seed=0,
                batch_tokens=options.batch_tokens,
            )
            padded = true = 0
            for batch, *_ in batches.dataset():
                padded += batch["input_mask"].shape[0] * batch["input_mask"].shape[1]
            true = int(tokens["train"].starts[-1])
            phase("end" + suffix)
            tokenized = sum(map(len, tokens.values()))
        memory.done = True
        assert tokenized == options.rows, tokenized
    keep(
        "data_path" if options.format == "csv" else f"data_path_{options.format}",
        {
            "rows": options.rows,
            "format": options.format,
            "tokens_a_row": round(true / len(tokens["train"]), 1),
            "seconds": seconds,
            "rows_read_checked_split_a_second": round(options.rows / seconds["read_check_split"]),
            "rows_tokenized_a_second": round(options.rows / seconds["tokenize"]),
            "batches_a_second": round(len(batches) / seconds["batches"]),
            "padded_to_true_tokens": round(padded / true, 3),
            "memory_mb": memory.peaks(),
        },
    )


if __name__ == "__main__":
    main()
