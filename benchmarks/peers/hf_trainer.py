"""Peer figure: the accuracy that the Hugging Face Trainer reaches on SST-2 on a CPU.

Fine-tunes a BERT checkpoint with AdamW (weight decay 0.01, the Trainer's own exclusion of biases and norms), a linear
schedule with 10% warm-up, gradient clipping at 1.0, the dropout of the model's config, batches grouped by length and
padded dynamically. The epoch with the best validation accuracy is kept; then validation and test are scored once.
The last line printed is `RESULT {json}`.

Reproduce, in a fresh virtual environment, from this folder:

    pip install -r requirements.txt
    python hf_trainer.py --model MODEL --data-dir DATA --train-file train.csv --epochs 3 --seed 0 --precision float32

MODEL is a checkpoint folder (config.json, model.safetensors and tokenizer.json or vocab.txt), for example
all-MiniLM-L6-v2. DATA holds sst2/train.csv, sst2/validation.csv, sst2/test.csv and sst2/train_phrases.csv with the
columns text and label (negative or positive).

bfloat16 is for CPUs that have instructions for it (AVX512-BF16, AMX). Elsewhere PyTorch emulates it, many times slower
than float32. The result says which precision was used and what the CPU can do.

With glibc on Linux, MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456 in the environment
saves time and leaves the result alone.
"""

import argparse
import csv
import json
import os
import platform
import tempfile
import time
from pathlib import Path

START = time.perf_counter()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the checkpoint is a local folder; nothing is to be fetched

import accelerate  # noqa: E402
import numpy as np  # noqa: E402
import sklearn  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizerFast,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

LABELS = ("negative", "positive")


class TokenizedTexts(torch.utils.data.Dataset):
    """The rows of one CSV file, tokenized without padding: the collator pads each batch."""

    def __init__(self, path, tokenizer, seq_length):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.encodings = tokenizer([row["text"] for row in rows], truncation=True, max_length=seq_length)
        self.labels = [LABELS.index(row["label"]) for row in rows]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {**{key: values[index] for key, values in self.encodings.items()}, "labels": self.labels[index]}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds sst2/")
    parser.add_argument("--train-file", default="train.csv", help="training file inside sst2/")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seq-length", type=int, default=128, help="longest sequence, in tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    return parser.parse_args()


def load_tokenizer(folder):
    if (folder / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    return BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)


def score(prediction):
    """Accuracy and ROC AUC of what the Trainer predicted.

    The labels must come from the prediction itself: grouping by length reorders the evaluation set too, so the file's
    own order does not match.
    """
    logits = np.asarray(prediction.predictions, dtype=np.float64)
    labels = np.asarray(prediction.label_ids)
    return {
        "accuracy": float((logits.argmax(axis=-1) == labels).mean()),
        "roc_auc": float(roc_auc_score(labels, logits[:, 1] - logits[:, 0])),
    }


def main():
    args = parse_args()
    seconds = {"import": time.perf_counter() - START}
    mark = time.perf_counter()

    def lap(name):
        nonlocal mark
        now = time.perf_counter()
        seconds[name] = now - mark
        mark = now

    set_seed(args.seed)  # before the model: the classification head is drawn at random
    tokenizer = load_tokenizer(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        dtype=torch.float32,
    )
    lap("load")

    folder = args.data_dir / "sst2"
    train, validation, test = (
        TokenizedTexts(folder / name, tokenizer, args.seq_length)
        for name in (args.train_file, "validation.csv", "test.csv")
    )
    lap("tokenize")

    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=checkpoints,
                num_train_epochs=args.epochs,
                per_device_train_batch_size=args.batch_size,
                per_device_eval_batch_size=args.batch_size,
                learning_rate=args.learning_rate,
                weight_decay=0.01,
                lr_scheduler_type="linear",
                warmup_steps=0.1,  # below 1: a share of all steps
                max_grad_norm=1.0,
                train_sampling_strategy="group_by_length",
                bf16=args.precision == "bfloat16",
                use_cpu=True,
                dataloader_pin_memory=False,
                seed=args.seed,
                eval_strategy="epoch",
                save_strategy="epoch",
                save_total_limit=1,
                save_only_model=True,
                load_best_model_at_end=True,
                metric_for_best_model="accuracy",
                greater_is_better=True,
                logging_strategy="epoch",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=score,
        )
        trainer.train()
        lap("train_and_validate_epochs")

    epochs = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    validation_scores = score(trainer.predict(validation))
    lap("score_validation")
    test_scores = score(trainer.predict(test))
    lap("score_test")
    seconds["total"] = time.perf_counter() - START

    result = {
        "validation": validation_scores,
        "test": test_scores,
        "epoch_validation_accuracy": epochs,
        "best_epoch": 1 + int(np.argmax(epochs)),  # the first of equals, as the Trainer chooses
        "settings": {
            "model": args.model.name,
            "train_file": args.train_file,
            "epochs": args.epochs,
            "batch_size": args.batch_size,
            "learning_rate": args.learning_rate,
            "seq_length": args.seq_length,
            "seed": args.seed,
            "precision": args.precision,
            "optimizer": str(trainer.args.optim.value),
            "steps": trainer.state.global_step,
            "warmup_steps": trainer.args.get_warmup_steps(trainer.state.max_steps),
            "dropout": [model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob],
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
        "rows": {"train": len(train), "validation": len(validation), "test": len(test)},
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (torch, transformers, accelerate, tokenizers)},
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
