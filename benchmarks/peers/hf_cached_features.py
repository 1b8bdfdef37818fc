"""Peer: a frozen encoder with cached features, in PyTorch and Hugging Face Transformers.

The encoder runs once per text, sorted by length. The pooler and the head train on the [CLS] vectors, with the schedule,
decay and clipping of the Hugging Face Trainer. The best epoch on validation is kept.

    python hf_cached_features.py --model MODEL --train train.csv --validation validation.csv --test test.csv
"""

from side import Clock, finish, read_rows  # isort: skip  the clock starts first

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # the first step of an optimizer would import it
from hf_trainer import PACKAGES, load_tokenizer
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup, set_seed

ENCODED_AT_ONCE = 64


class Head(torch.nn.Module):
    """The checkpoint's pooler and a new classifier."""

    def __init__(self, model):
        super().__init__()
        self.pooler, self.dropout, self.classifier = model.bert.pooler, model.dropout, model.classifier

    def forward(self, features):
        # the pooler takes a sequence's first token
        return self.classifier(self.dropout(self.pooler(features[:, None])))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seq-length", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    return parser.parse_args()


@torch.inference_mode()
def features_of(encoder, ids):
    """Return the last hidden state of the first token of each text, float32 (texts, hidden)."""
    lengths = np.array([len(row) for row in ids])
    order, features = np.argsort(lengths), torch.empty(len(ids), encoder.config.hidden_size)
    for start in range(0, len(order), ENCODED_AT_ONCE):
        batch = order[start : start + ENCODED_AT_ONCE]
        rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in batch], batch_first=True)
        mask = (torch.arange(rows.shape[1]) < torch.tensor(lengths[batch])[:, None]).long()
        features[torch.tensor(batch)] = encoder(input_ids=rows, attention_mask=mask).last_hidden_state[:, 0].float()
    return features


def train_head(head, splits, args):
    """Train on cached features; return the head of the best epoch and its accuracy."""
    weights, rest = ([p for p in head.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, fused=True)
    features, labels = splits["train"]
    steps = -(-len(labels) // args.batch_size) * args.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.1 * steps), steps)
    best = None
    for _ in range(args.epochs):
        head.train()
        for batch in torch.randperm(len(labels)).split(args.batch_size):
            torch.nn.functional.cross_entropy(head(features[batch]), labels[batch]).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        score = accuracy(head, *splits["validation"])
        if best is None or score > best[0]:
            best = score, copy.deepcopy(head.state_dict())
    head.load_state_dict(best[1])
    return best[0]


@torch.inference_mode()
def accuracy(head, features, labels):
    head.eval()
    return float((head(features).argmax(-1) == labels).float().mean())


def main():
    args, clock = parse_args(), Clock()
    clock.lap("imports")
    set_seed(args.seed)
    tokenizer = load_tokenizer(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2, dtype=torch.float32)
    head = Head(copy.deepcopy(model))
    encoder = model.bert.to(getattr(torch, args.precision)).eval()
    encoder.pooler = None
    clock.lap("load")
    rows = {name: read_rows(getattr(args, name)) for name in ("train", "validation", "test")}
    texts = [text for split, _ in rows.values() for text in split]
    ids = tokenizer(texts, truncation=True, max_length=args.seq_length)["input_ids"]
    clock.lap("tokenize")
    features = features_of(encoder, ids).split([len(labels) for _, labels in rows.values()])
    splits = {name: (part, torch.tensor(rows[name][1])) for name, part in zip(rows, features)}
    clock.lap("encode")
    validation = train_head(head, splits, args)
    clock.lap("train")
    test = accuracy(head, *splits["test"])
    clock.lap("score_test")
    finish(clock, PACKAGES, validation_accuracy=validation, test_accuracy=test)


if __name__ == "__main__":
    main()
