"""Peer: predict one text at a time in ONNX Runtime with dynamic int8 weights, from token ids.

    python onnx_int8.py --model CHECKPOINT --texts test.csv

CHECKPOINT is the folder that `python benchmarks/ours.py checkpoint` writes. Texts are not padded; tokenization
is not timed.
"""

from side import Clock, finish, one_text_p50_ms, read_rows  # isort: skip  the clock starts first

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from hf_predict import load_model
from hf_trainer import load_tokenizer
from onnxruntime.quantization import QuantType, quantize_dynamic

PACKAGES = ("onnxruntime", "onnx", "torch", "transformers", "numpy")


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        # Without segment ids the exporter uses a buffer of BERT, and the file predicts nonsense.
        segments = torch.zeros_like(input_ids)
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=segments).logits


def quantized(model, folder):
    """Return the int8 file of a PyTorch model."""
    exported, file = folder / "model.onnx", folder / "int8.onnx"
    example, mask = torch.arange(1000, 1032).reshape(2, 16), torch.ones((2, 16), dtype=torch.long)
    axes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens", max=512)}
    torch.onnx.export(
        Logits(model).eval(),
        (example, mask),
        exported,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes=(axes, axes),
        dynamo=True,
        external_data=False,
    )
    quantize_dynamic(exported, file, weight_type=QuantType.QInt8)
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--seq-length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args, clock = parser.parse_args(), Clock()
    clock.lap("imports")
    with tempfile.TemporaryDirectory() as folder:
        file = quantized(load_model(args.model, torch.float32), Path(folder))
        size = file.stat().st_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    texts, truth = read_rows(args.texts)
    encoded = load_tokenizer(args.model)(texts, truncation=True, max_length=args.seq_length)["input_ids"]
    ids = [np.array([row]) for row in encoded]
    feeds = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]
    clock.lap("load")
    p50 = one_text_p50_ms(lambda feed: session.run(None, feed), feeds)
    clock.lap("one_by_one")
    labels = [int(session.run(None, feed)[0].argmax()) for feed in feeds]
    finish(
        clock,
        PACKAGES,
        one_text_p50_ms=p50,
        test_accuracy=float((np.array(labels) == truth).mean()),
        file_bytes=size,
    )


if __name__ == "__main__":
    main()
