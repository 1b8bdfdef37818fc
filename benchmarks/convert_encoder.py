"""Measure `tfhub-ft encoders convert` on a BERT-base with random weights: seconds and peak memory of all processes.

python benchmarks/convert_encoder.py
python benchmarks/convert_encoder.py --program OTHER_ENVIRONMENT/bin/tfhub-ft
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from machine import keep, show
from safetensors.numpy import save_file

from tfhub_ft.encoders.checkpoint import expected_shapes

CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,!?:;'()$0123456789"]


def write_checkpoint(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    unused = [f"[unused{number}]" for number in range(CONFIG["vocab_size"] - len(SPECIAL_TOKENS))]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *unused]) + "\n")
    sizes = {"layers": 12, "max_positions": 512, **{name: CONFIG[name] for name in CONFIG}}
    rng = np.random.default_rng(0)
    shapes = expected_shapes(sizes)
    centers = {name: float("LayerNorm.weight" in name) for name in shapes}
    weights = {n: (centers[n] + rng.normal(0, 0.02, shape)).astype("float32") for n, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")


def convert(program, checkpoint, out_dir):
    """Return the seconds of a conversion and the peak memory of its processes in MB."""
    began, peak = time.perf_counter(), 0
    process = psutil.Popen([program, "encoders", "convert", str(checkpoint), str(out_dir)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory = 0
        for each in [process, *process.children(recursive=True)]:
            try:
                memory += each.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, memory)
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{program}: the conversion ended with exit code {process.returncode}")
    return seconds, peak / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", help="another tfhub-ft to measure; writes no file")
    options = parser.parse_args()
    program = options.program or shutil.which("tfhub-ft", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory() as scratch:
        write_checkpoint(Path(scratch) / "bert-base")
        rounds = [convert(program, Path(scratch) / "bert-base", Path(scratch) / str(n)) for n in range(options.rounds)]
        size = sum(file.stat().st_size for file in Path(scratch, "0").rglob("*") if file.is_file())
    seconds, memory = zip(*rounds, strict=True)
    figures = {
        "seconds": [round(each, 1) for each in seconds],
        "median_seconds": round(statistics.median(seconds), 1),
        "peak_memory_mb": round(max(memory)),
        "pair_mb": round(size / 1e6),
    }
    (show if options.program else keep)("convert_encoder", figures)


if __name__ == "__main__":
    main()
