"""Peer: the Hugging Face Trainer, with its best flags (bfloat16, batches grouped by length); on a GPU if there is one.

A BERT checkpoint is fine-tuned with AdamW (weight decay 0.01 on all but biases and norms), a linear schedule with 10%
warm-up, gradients clipped at norm 1.0, the dropout of the model's config, and validated after each epoch. The model is
saved at the end. The last line printed is `RESULT {json}`.

    python hf_trainer.py --model MODEL --train train.csv --validation validation.csv --epochs 1
    python hf_trainer.py --model MODEL --train ... --validation ... --test test.csv --epochs 3 --keep-best

MODEL is a checkpoint folder (config.json, model.safetensors and tokenizer.json or vocab.txt); the csv files have the
columns text and label. `--keep-best` checkpoints every epoch and scores the test rows with the best one on
validation. `--freeze` trains the pooler and the head only.

bfloat16 is for CPUs that have instructions for it (AVX512-BF16, AMX). Elsewhere PyTorch emulates it, many times slower
than float32.
"""

from side import Clock, Steps, finish, read_rows  # isort: skip  the clock starts first

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the checkpoint is a local folder

import numpy as np
import torch
import torch._dynamo  # the first step of an optimizer would import it
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizerFast,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.models.bert import modeling_bert  # noqa: F401  the model would import it

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy")


class TokenizedTexts(torch.utils.data.Dataset):
    """The tokenized rows of a csv file; the collator pads each batch."""

    def __init__(self, path, tokenizer, seq_length):
        texts, self.labels = read_rows(path)
        self.encodings = tokenizer(texts, truncation=True, max_length=seq_length)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {**{key: values[index] for key, values in self.encodings.items()}, "labels": self.labels[index]}


class StepTimes(TrainerCallback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, *_, **__):
        self.steps.done()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seq-length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--keep-best", action="store_true")
    return parser.parse_args()


def load_tokenizer(folder):
    if (folder / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    return BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)


def accuracy(prediction):
    # Grouping by length also reorders the evaluation set, so use the labels of the prediction.
    return {"accuracy": float((np.asarray(prediction.predictions).argmax(-1) == prediction.label_ids).mean())}


def build_trainer(args, model, tokenizer, splits, steps, folder):
    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            weight_decay=0.01,
            lr_scheduler_type="linear",
            warmup_steps=0.1,  # below 1: a fraction of all steps
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            bf16=args.precision == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=args.seed,
            eval_strategy="epoch",
            save_strategy="epoch" if args.keep_best else "no",
            save_total_limit=1,
            save_only_model=True,
            load_best_model_at_end=args.keep_best,
            metric_for_best_model="accuracy",
            greater_is_better=True,
            logging_strategy="epoch",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
        callbacks=[StepTimes(steps)],
    )


def main():
    args, clock, steps = parse_args(), Clock(), Steps()
    clock.lap("imports")
    set_seed(args.seed)  # before the model, whose classification head is random
    tokenizer = load_tokenizer(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2, dtype=torch.float32)
    if args.freeze:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = "pooler" in name or "classifier" in name
    clock.lap("load")
    files = {"train": args.train, "validation": args.validation, "test": args.test}
    splits = {name: TokenizedTexts(path, tokenizer, args.seq_length) for name, path in files.items() if path}
    clock.lap("tokenize")
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(args, model, tokenizer, splits, steps, folder)
        trainer.train()
        clock.lap("train")
        trainer.save_model(folder)
        clock.lap("save")
    evaluations = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    clock.move(sum(entry["eval_runtime"] for entry in evaluations), "train", "evaluate")
    accuracies = [entry["eval_accuracy"] for entry in evaluations]
    scores = {"validation_accuracy": max(accuracies) if args.keep_best else accuracies[-1]}
    if args.test:
        scores["test_accuracy"] = accuracy(trainer.predict(splits["test"]))["accuracy"]
        clock.lap("score_test")
    finish(clock, PACKAGES, rows_per_second=steps.rows_per_second(args.batch_size), **scores)


if __name__ == "__main__":
    main()
