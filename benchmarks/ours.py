"""Run the tfhub_ft side of the comparisons of `compare_peers.py`.

    python benchmarks/ours.py train sentiment --train train.csv --validation validation.csv --output-dir RUN
    python benchmarks/ours.py checkpoint RUN CHECKPOINT
    python benchmarks/ours.py export RUN EXPORT
    python benchmarks/ours.py predict RUN --texts test.csv
    python benchmarks/ours.py tflite EXPORT/tflite/EXPORT_dynamic.tflite --texts test.csv

`train` does the work of `tfhub-ft train`, and `predict` that of `tfhub_ft.predict`; imports are timed separately. The
last line of the output is `RESULT {json}`.
"""

from peers.side import Clock, finish, one_text_p50_ms, read_rows  # isort: skip  the clock starts first

import argparse
import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np

PACKAGES = ("tensorflow", "keras", "tensorflow-text", "ai-edge-litert", "numpy")
# The imports of each command.
LATE_IMPORTS = {
    "train": (
        "tfhub_ft.training.interruptions",
        "tfhub_ft.training.train_step",
        "tfhub_ft.training.trainer",
        "tfhub_ft.training.optimizer",
        "tfhub_ft.encoders.hub_encoder",
        "tfhub_ft.evaluation.report.html_report",
        "tensorflow_hub",
        "tensorflow_text",
        "tensorboard.summary.v2",
        "sklearn.metrics",
        "matplotlib.backends.backend_svg",
        "jinja2",
    ),
    "predict": ("tfhub_ft.encoders.hub_encoder", "tensorflow_hub", "tensorflow_text"),
    "tflite": ("tfhub_ft.inference.runtimes.preprocessor", "tensorflow_text", "ai_edge_litert.interpreter"),
}
WARM_UP_TEXTS, TIMED_TEXTS = 64, 150


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for work in (train, checkpoint, export, predict, tflite):
        commands.add_parser(work.__name__).set_defaults(work=work)
    of = commands.choices
    of["train"].add_argument("recipe")
    for split in ("train", "validation", "test"):
        of["train"].add_argument(f"--{split}", type=Path)
    of["train"].add_argument("--output-dir", type=Path, required=True)
    of["train"].add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the recipe")
    for name in ("checkpoint", "export"):
        of[name].add_argument("run", type=Path)
        of[name].add_argument("folder", type=Path)
    for name in ("predict", "tflite"):
        of[name].add_argument("model", type=Path)
        of[name].add_argument("--texts", type=Path, required=True)
    of["predict"].add_argument("--precision")
    of["tflite"].add_argument("--threads", type=int)
    args = parser.parse_args()
    args.work(args)


def imports(work):
    """Import everything heavy that a command needs, tfhub_ft first."""
    clock = Clock()
    import tfhub_ft
    from tfhub_ft.utils.memory import collect_garbage_rarely

    # As the command line does before its imports.
    collect_garbage_rarely()
    tfhub_ft.train, tfhub_ft.predict  # noqa: B018  lazy import
    for name in LATE_IMPORTS[work]:
        importlib.import_module(name)
    clock.lap("imports")
    return clock


def train(args):
    clock = imports("train")
    import tfhub_ft
    from tfhub_ft.cli.main import main as command

    files = {split: getattr(args, split) for split in ("train", "validation", "test") if getattr(args, split)}
    settings = dict(each.split("=", 1) for each in args.set)
    options = {**files, "output-dir": args.output_dir, **{name.replace("_", "-"): settings[name] for name in settings}}
    sys.argv[1:] = ["train", args.recipe, *(str(word) for name in options for word in (f"--{name}", options[name]))]
    try:
        command()
    except SystemExit as done:
        if done.code:
            raise
    run = tfhub_ft.Run(args.output_dir)
    clock.lap("train")
    with (run.path / "history.csv").open(newline="") as history:
        epochs = [float(row["seconds"]) for row in csv.DictReader(history)]
    accuracies = {f"{split}_accuracy": run.metrics[split]["accuracy"] for split in list(files)[1:]}
    settings = {name: value for name, value in run.settings.as_dict().items() if name not in (*files, "data")}
    finish(clock, PACKAGES, **accuracies, epoch_seconds=sum(epochs), settings=settings)


def checkpoint(args):
    """Write a run's weights for the peers: a Hugging Face BERT, and its head in head.npz."""
    from safetensors.numpy import save_file

    from tfhub_ft.encoders.model_garden import hugging_face_weight
    from tfhub_ft.run import Run

    model = Run(args.run).load_model()
    preprocessor, network = model.get_layer("preprocessor"), model.get_layer("token_model")
    encoder, words = network.get_layer("encoder"), preprocessor.vocabulary
    architecture, values = encoder.spec["architecture"], encoder.values
    config = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": values["word_embeddings/embeddings"].shape[1],
        "num_hidden_layers": architecture["layers"],
        "num_attention_heads": architecture["heads"],
        "intermediate_size": values["transformer/layer_0/intermediate/kernel"].shape[1],
        "max_position_embeddings": len(values["position_embedding/embeddings"]),
        "hidden_act": architecture["activation"],
        "layer_norm_eps": architecture["epsilon"],
    }
    args.folder.mkdir()
    (args.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {"do_lower_case": preprocessor.is_uncased}
    (args.folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (args.folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    save_file(dict(hugging_face_weight(*each) for each in values.items()), args.folder / "model.safetensors")
    kernel, bias = network.get_layer("logits").get_weights()
    np.savez(args.folder / "head.npz", kernel=kernel, bias=bias)


def export(args):
    import tfhub_ft

    tfhub_ft.export(args.run, output_dir=args.folder, formats=("tflite",), quantize=("dynamic",))


def predict(args):
    clock = imports("predict")
    import tfhub_ft
    from tfhub_ft.inference.predict import open_predictor

    predictor = open_predictor(args.model, **({"precision": args.precision} if args.precision else {}))
    texts, truth = read_rows(args.texts)
    tfhub_ft.predict(predictor, texts[:WARM_UP_TEXTS])
    clock.lap("load")
    answers = tfhub_ft.predict(predictor, texts)
    clock.lap("predict")
    p50 = one_text_p50_ms(lambda text: tfhub_ft.predict(predictor, [text]), texts[:TIMED_TEXTS])
    clock.lap("one_by_one")
    right = [sorted(answer["probabilities"]).index(answer["label"]) == label for answer, label in zip(answers, truth)]
    seconds = clock.seconds["predict"]
    finish(
        clock,
        PACKAGES,
        predict_seconds=seconds,
        texts_per_second=len(texts) / seconds,
        one_text_p50_ms=p50,
        test_accuracy=sum(right) / len(right),
    )


def tflite(args):
    clock = imports("tflite")
    from tfhub_ft.inference.runtimes.base import single_rows, token_batch
    from tfhub_ft.inference.runtimes.preprocessor import tflite_preprocessor
    from tfhub_ft.inference.runtimes.tflite import TFLiteRuntime

    runtime, preprocessor = TFLiteRuntime(args.model, threads=args.threads), tflite_preprocessor(args.model)
    texts, truth = read_rows(args.texts)
    batches = single_rows([token_batch(preprocessor, [[text] for text in texts])])
    runtime(batches[0])
    clock.lap("load")
    p50 = one_text_p50_ms(runtime, batches)
    clock.lap("one_by_one")
    right = [int(next(iter(runtime(batch).values())).argmax()) == label for batch, label in zip(batches, truth)]
    finish(
        clock,
        PACKAGES,
        one_text_p50_ms=p50,
        test_accuracy=sum(right) / len(right),
        file_bytes=args.model.stat().st_size,
    )


if __name__ == "__main__":
    main()
