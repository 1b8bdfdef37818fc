"""Sample the memory of `tfhub-ft predict` on a long file, and compare both halves.

python benchmarks/predict_memory.py --model RUN_OR_EXPORT --rows 200000
"""

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from machine import keep

WORDS = ("the", "a", "film", "was", "good", "bad", "boring", "funny", "and", "but", "not", "very", "so", "acting")


def write_rows(path, count):
    choose = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([[" ".join(choose.choices(WORDS, k=choose.randint(1, 10)))] for _ in range(count)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    program = shutil.which("tfhub-ft", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory() as folder:
        rows, answers = Path(folder) / "rows.csv", Path(folder) / "answers.csv"
        write_rows(rows, options.rows)
        command = [program, "predict", options.model, "--input", str(rows), "--output", str(answers)]
        began = time.perf_counter()
        process, samples = subprocess.Popen(command), []
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            samples.append(watched.memory_info().rss / 2**20)
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        with answers.open(encoding="utf-8") as file:
            written = sum(1 for _ in file) - 1
    assert process.returncode == 0
    assert written == options.rows, (written, options.rows)
    working = samples[len(samples) // 4 :]
    half = len(working) // 2
    keep(
        "predict_memory",
        {
            "rows": options.rows,
            "seconds": round(seconds, 1),
            "rows_per_second": round(options.rows / seconds),
            "peak_mb_second_quarter_on": [round(max(working[:half])), round(max(working[half:]))],
        },
    )


if __name__ == "__main__":
    main()
