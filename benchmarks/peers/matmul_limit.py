"""Measure the machine's matrix product rate, and the time of an SST-2 epoch of matrix products alone.

    python matmul_limit.py --model MODEL --train train.csv --validation validation.csv

The rate is the median of several trials with 2048 x 2048 matrices in PyTorch. The work is that of all tokens without
padding: a forward pass, twice as much for the gradients, and a forward pass of the validation sentences.
"""

from side import Clock, finish, read_rows  # isort: skip  the clock starts first

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from hf_trainer import load_tokenizer

SIZE, TRIALS, TRIAL_SECONDS = 2048, 5, 1.0


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--seq-length", type=int, default=128)
    return parser.parse_args()


def products_per_second(dtype):
    """Return floating point operations per second of the product of two square matrices."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    left @ right
    rates = []
    for _ in range(TRIALS):
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < TRIAL_SECONDS:
            left @ right
            count += 1
        rates.append(2 * SIZE**3 * count / (time.perf_counter() - began))
    return statistics.median(rates)


def forward_operations(lengths, config):
    """Return the floating point operations of the matrix products of a forward pass over sequences of these lengths."""
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    dense = 2 * sum(lengths) * (4 * hidden**2 + 2 * hidden * inner)
    attention = 4 * hidden * sum(length**2 for length in lengths)
    pooler = 2 * len(lengths) * hidden**2
    return layers * (dense + attention) + pooler


def main():
    args, clock = parse_args(), Clock()
    clock.lap("imports")
    tokenizer, config = load_tokenizer(args.model), json.loads((args.model / "config.json").read_text())
    train, validation = (
        [len(ids) for ids in tokenizer(read_rows(path)[0], truncation=True, max_length=args.seq_length)["input_ids"]]
        for path in (args.train, args.validation)
    )
    operations = 3 * forward_operations(train, config) + forward_operations(validation, config)
    rates = {name: products_per_second(getattr(torch, name)) for name in ("bfloat16", "float32")}
    clock.lap("measure")
    finish(
        clock,
        ("torch", "transformers"),
        train_tokens=sum(train),
        tera_operations=round(operations / 1e12, 2),
        **{f"{name}_gflop_per_second": round(rate / 1e9) for name, rate in rates.items()},
        **{f"{name}_limit_seconds": round(operations / rate, 2) for name, rate in rates.items()},
    )


if __name__ == "__main__":
    main()
