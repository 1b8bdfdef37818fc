"""Peer: predict labels in PyTorch, in batches of 32 sorted by length, in bfloat16.

    python hf_predict.py --model CHECKPOINT --texts test.csv

CHECKPOINT is the folder that `python benchmarks/ours.py checkpoint` writes: a BERT, and its head in head.npz.
"""

from side import Clock, finish, one_text_p50_ms, read_rows  # isort: skip  the clock starts first

import argparse
from pathlib import Path

import numpy as np
import torch
from hf_trainer import PACKAGES, load_tokenizer
from transformers import AutoModelForSequenceClassification

BATCH, TIMED_TEXTS = 32, 150


def load_model(folder, dtype):
    """Return the encoder of the checkpoint with its head."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=dtype)
    with np.load(folder / "head.npz") as head, torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(head["kernel"].T))
        model.classifier.bias.copy_(torch.tensor(head["bias"]))
    return model.eval()


def predictor(model, tokenizer, seq_length):
    """Return a function from texts to label numbers."""
    tokenizer = tokenizer.backend_tokenizer  # without Python overhead
    tokenizer.no_padding()
    tokenizer.enable_truncation(seq_length)

    @torch.inference_mode()
    def predict(texts):
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        order, labels = np.argsort([len(row) for row in ids]), np.empty(len(ids), int)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in batch], batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence(
                [torch.ones(len(ids[i]), dtype=int) for i in batch], batch_first=True
            )
            labels[batch] = model(input_ids=rows, attention_mask=mask).logits.argmax(-1).numpy()
        return labels

    return predict


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--seq-length", type=int, default=128)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    args, clock = parser.parse_args(), Clock()
    clock.lap("imports")
    predict = predictor(
        load_model(args.model, getattr(torch, args.precision)), load_tokenizer(args.model), args.seq_length
    )
    texts, truth = read_rows(args.texts)
    clock.lap("load")
    predict(texts[: 2 * BATCH])
    clock.lap("warm_up")
    labels = predict(texts)
    clock.lap("predict")
    p50 = one_text_p50_ms(lambda text: predict([text]), texts[:TIMED_TEXTS])
    clock.lap("one_by_one")
    finish(
        clock,
        PACKAGES,
        predict_seconds=clock.seconds["predict"],
        texts_per_second=len(texts) / clock.seconds["predict"],
        one_text_p50_ms=p50,
        test_accuracy=float((labels == truth).mean()),
    )


if __name__ == "__main__":
    main()
