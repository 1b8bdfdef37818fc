"""The comparisons of `compare_peers.py`: what is compared, with which commands, on which rows.

Placeholders in a command: files of rows ({train}, {validation}, {test}), the checkpoint of the encoder ({model}) and
its TF Hub pair ({encoder}, {preprocessor}), the number of the round ({round}), a new folder for the side ({out}), the
folder shared by all sides ({work}), {precision} (bfloat16 where the processor is fast at it, otherwise float32),
{threads}, and the options of tfhub_ft ({settings}, {predict_options}).
"""

import csv
import random
from dataclasses import dataclass, field

# glibc keeps large buffers instead of returning them to the kernel after every step.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_TOP_PAD_": "268435456"}
TRAIN = "--train {train} --validation {validation} --seed {round}"
OURS_TRAIN = "benchmarks/ours.py train {recipe} --train {train} --validation {validation} --output-dir {out} {settings}"


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        name: Name in the JSON file.
        label: Label in the plot and the table.
        environment: Environment that runs it: "ours", "torch" or "keras".
        command: Command to run.
        variables: Environment variables of the command.
        first: Number of rows that a slow side trains on; the rest is extrapolated at its steady rate.
        epochs: Epochs that are trained, and epochs that are reported; the rest is extrapolated.
    """

    name: str
    label: str
    environment: str
    command: str
    variables: dict = field(default_factory=dict)
    first: int | None = None
    epochs: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Row:
    """A comparison; the first side is tfhub_ft.

    Args:
        what: Title.
        data: Dataset, "sst2" or "phishing".
        sides: The sides that are compared.
        measure: Name of the figure that is compared.
        axis: Label of the figure in the plot.
        prepare: Commands of tfhub_ft that run once before, not timed.
        rounds: Number of runs of each side.
        is_score: Whether the figure is a score: higher is better, and the mean counts.
        best_peer_only: Whether the peers are settings of one product, of which only the best counts.
    """

    what: str
    data: str
    sides: tuple[Side, ...]
    measure: str = "work_seconds"
    axis: str = "seconds, without imports"
    prepare: tuple[str, ...] = ()
    rounds: int = 5
    is_score: bool = False
    best_peer_only: bool = False


def ours(recipe="sentiment", *options, name="tfhub_ft", label="tfhub_ft"):
    command = OURS_TRAIN.replace("{recipe}", recipe)
    return Side(name, label, "ours", " ".join([command, "--set seed={round}", *options]))


def hf_trainer(name, label, *options, **arguments):
    command = f"benchmarks/peers/hf_trainer.py --model {{model}} {TRAIN} --precision {{precision}}"
    return Side(name, label, "torch", " ".join([command, *options]), **arguments)


def kerashub(precision, length):
    command = f"benchmarks/peers/kerashub_classifier.py --model {{model}} {TRAIN}"
    return Side(
        f"kerashub_{precision}_{length}",
        f"KerasHub, {precision}, {length} tokens",
        "keras",
        f"{command} --precision {precision} --seq-length {length}",
        first=640,
    )


EPOCH = ours("sentiment", "--set epochs=1")
FROZEN = "--learning-rate 1e-3 --seq-length 96"
PREPARED_RUN = (
    "benchmarks/ours.py train sentiment --train {train} --validation {validation} --output-dir {work}/run"
    " --set epochs=1 {settings}",
    "benchmarks/ours.py checkpoint {work}/run {work}/checkpoint",
)

ROWS = {
    "sst2-epoch": Row(
        "SST-2, 6,920 sentences, 1 epoch",
        "sst2",
        (
            EPOCH,
            ours(
                "sentiment",
                "--set epochs=1 --set implementation=graph",
                name="tfhub_ft_graph",
                label="tfhub_ft, graph implementation",
            ),
            hf_trainer("hf_trainer", "Hugging Face Trainer"),
        ),
    ),
    "sst2-kerashub": Row(
        "SST-2, 6,920 sentences, 1 epoch",
        "sst2",
        (EPOCH, *(kerashub(precision, length=64) for precision in ("float32", "bfloat16"))),
        best_peer_only=True,
    ),
    "sst2-tfhub-tutorial": Row(
        "SST-2, 6,920 sentences, 1 epoch",
        "sst2",
        (
            EPOCH,
            Side(
                "tfhub_tutorial",
                "TF Hub tutorial (tf_keras)",
                "keras",
                f"benchmarks/peers/tfhub_tutorial.py --encoder {{encoder}} --preprocessor {{preprocessor}} {TRAIN}",
                first=640,
            ),
        ),
    ),
    "sst2-accuracy": Row(
        "SST-2, 3 epochs: test accuracy, mean of 6 seeds",
        "sst2",
        (
            ours("sentiment", "--set epochs=3 --test {test}"),
            hf_trainer("hf_trainer", "Hugging Face Trainer", "--test {test} --epochs 3 --keep-best", variables=MALLOC),
        ),
        measure="test_accuracy",
        axis="test accuracy",
        rounds=6,
        is_score=True,
    ),
    "frozen": Row(
        "3,000 URLs, frozen except pooler and head, 10 epochs",
        "phishing",
        (
            ours("phishing", "--set batch_size=32 --set patience=10 --test {test}"),
            Side(
                "hf_cached_features",
                "Transformers, cached features",
                "torch",
                "benchmarks/peers/hf_cached_features.py --model {model} " + TRAIN + " --test {test}"
                f" --precision {{precision}} --epochs 10 {FROZEN}",
            ),
            hf_trainer(
                "hf_trainer", "Hugging Face Trainer", f"--test {{test}} --epochs 1 --freeze {FROZEN}", epochs=(1, 10)
            ),
        ),
    ),
    "predict": Row(
        "predict 1,821 sentences, from strings",
        "sst2",
        (
            Side(
                "tfhub_ft", "tfhub_ft", "ours", "benchmarks/ours.py predict {work}/run --texts {test} {predict_options}"
            ),
            Side(
                "torch",
                "PyTorch, sorted by length",
                "torch",
                "benchmarks/peers/hf_predict.py --model {work}/checkpoint --texts {test} --precision {precision}",
            ),
        ),
        measure="predict_seconds",
        axis="seconds, model loaded",
        prepare=PREPARED_RUN,
    ),
    "tflite-one-text": Row(
        "predict one text, from token ids, int8 weights, median",
        "sst2",
        (
            Side(
                "tfhub_ft",
                "tfhub_ft, TFLite dynamic",
                "ours",
                "benchmarks/ours.py tflite {work}/export/tflite/export_dynamic.tflite"
                " --texts {test} --threads {threads}",
            ),
            Side(
                "onnxruntime",
                "ONNX Runtime, dynamic int8",
                "torch",
                "benchmarks/peers/onnx_int8.py --model {work}/checkpoint --texts {test} --threads {threads}",
            ),
        ),
        measure="one_text_p50_ms",
        axis="milliseconds per text (p50)",
        prepare=(*PREPARED_RUN, "benchmarks/ours.py export {work}/run {work}/export"),
    ),
    "matmul-limit": Row(
        "SST-2, 1 epoch: limit of the machine's matrix products",
        "sst2",
        (
            Side(
                "matmul_limit",
                "limit of bfloat16",
                "torch",
                "benchmarks/peers/matmul_limit.py --model {model} --train {train} --validation {validation}",
            ),
        ),
        measure="bfloat16_limit_seconds",
        axis="seconds, without imports",
    ),
}


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sst2_rows(data_dir):
    return {split: read_csv(data_dir / "sst2" / f"{split}.csv") for split in ("train", "validation", "test")}


def phishing_rows(data_dir):
    """Return 3,000 URLs, split 70/15/15."""
    rows = read_csv(data_dir / "phishing_urls" / "urls_3000.csv")
    random.Random(0).shuffle(rows)
    first, second = round(0.7 * len(rows)), round(0.85 * len(rows))
    return {"train": rows[:first], "validation": rows[first:second], "test": rows[second:]}


DATA = {"sst2": sst2_rows, "phishing": phishing_rows}
