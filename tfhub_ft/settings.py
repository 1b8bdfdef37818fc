"""What can be set: each field is at once a keyword, a command-line option and a key of a YAML file."""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from tfhub_ft.encoders.freezing import FREEZE_HELP
from tfhub_ft.utils.arguments import check_no_nul, check_path, type_name
from tfhub_ft.utils.errors import InputError

STRATEGIES = ("one", "mirrored", "multi-worker", "tpu")
NO_PARAMETER_SERVERS = (
    "--strategy parameter-server: Keras 3 does not train with parameter servers; multi-worker shares the work out among"
    " as many machines, and loses nothing when one fails"
)
DATA = ("train", "validation", "test", "data", "prepared")
_READING = ("skip_bad_rows", "delimiter", "encoding", "header")
_OF_ROWS = ("train", "validation", "test", "data", *_READING, "encoder", "preprocessor", "seq_length", "seed")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    path: bool = False,
) -> Any:
    """A documented field of a settings class.

    Args:
        default: its value where nobody gives one.
        help: one line, shown by `--help`.
        minimum: the least value allowed.
        maximum: the greatest value allowed.
        choices: the only values allowed.
        path: whether it names a file, relative to the folder that the command runs in.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every training lets you set, whatever model it trains.

    Raises:
        InputError: a value has the wrong type or is out of its range.
    """

    train: str | None = setting(
        None, "File with the rows to train on, in a format of this recipe (also .gz).", path=True
    )
    validation: str | None = setting(
        None, "File with the rows that choose the best epoch; without it 15% of --train are held out.", path=True
    )
    test: str | None = setting(None, "File with the rows that are scored once, at the end.", path=True)
    data: str | None = setting(
        None, "One file, split 70/15/15 into train, validation and test by the seed, stratified.", path=True
    )
    skip_bad_rows: bool = setting(False, "Count and skip bad rows, where the first one is an error otherwise.")
    delimiter: str | None = setting(
        None, "Delimiter of csv and tsv files: one character, such as ';', or tab. Detected by default."
    )
    encoding: str | None = setting(
        None, "Encoding of text files, such as cp1252; by default UTF-8, or what a byte order mark says."
    )
    header: bool = setting(
        True, "Whether csv and tsv files begin with a header line. Without it, columns are named by number: 1, 2 ..."
    )

    seq_length: int = setting(128, "The most tokens of a row, [CLS] and [SEP] included.", minimum=3)

    epochs: int = setting(
        3, "Number of training epochs; of few rows more, where none is given, until --min-steps are reached.", minimum=1
    )
    min_steps: int = setting(
        100, "Minimum number of training steps, where --epochs is not given; --patience grows with it.", minimum=0
    )
    batch_size: int = setting(32, "Rows of a training step.", minimum=1)
    batch_tokens: int = setting(
        0, "Tokens of a training step, padding included, in place of --batch-size; 0 counts rows.", minimum=0
    )
    padding: str = setting(
        "longest",
        "Of a batch in training: longest, to its longest row; buckets, to one of a few fixed lengths, for XLA and TPU.",
        choices=("longest", "buckets"),
    )
    learning_rate: float = setting(5e-5, "The highest learning rate, reached after the warm-up.", minimum=0)
    warmup: float = setting(0.1, "Share of the steps in which the learning rate rises from 0.", minimum=0, maximum=1)
    weight_decay: float = setting(0.01, "AdamW's decay, of all weights but biases and norms.", minimum=0)
    clip_norm: float = setting(1.0, "The gradient's norm is clipped to this; 0 does not clip.", minimum=0)
    patience: int = setting(2, "Epochs without a better validation score before training stops.", minimum=1)
    seed: int = setting(0, "Everything random follows from it.", minimum=0, maximum=2**31 - 2)
    precision: str = setting(
        "auto",
        "Of training's matrix products: float32, bfloat16, float16 (for GPUs without bfloat16), or auto (bfloat16 where"
        " the processor multiplies it fast, else float32).",
        choices=PRECISIONS,
    )
    strategy: str = setting(
        "one",
        "one device; mirrored, all GPUs of this machine; multi-worker, all processes that TF_CONFIG or SLURM tells of;"
        " or tpu[:NAME]. Each batch is shared out.",
    )
    track: str | None = setting(
        None,
        "Log to a tracker, too: mlflow (where MLFLOW_TRACKING_URI is), or wandb (Weights & Biases).",
        choices=("mlflow", "wandb"),
    )

    # What only some recipes let one set.
    prepared: ClassVar[str | None] = None
    jit_compile: ClassVar[bool] = False
    cache_features: ClassVar[bool] = False
    accumulate_steps: ClassVar[int] = 1
    pretrained: ClassVar[str]

    def __post_init__(self) -> None:
        _check_fields(self)
        _check_strategy(self.strategy)
        if self.data and (self.train or self.validation or self.test):
            raise InputError("--data is split into train, validation and test: give either --data or those files")
        if self.prepared and (self.data or self.train):
            raise InputError(f"--prepared {self.prepared} has the rows: give either that folder or files")
        if not self.train and (self.validation or self.test):
            raise InputError(f"--{'validation' if self.validation else 'test'} needs --train beside it")
        if 0 < self.batch_tokens < self.seq_length:
            raise InputError(
                f"--batch-tokens {self.batch_tokens}: must be at least --seq-length, which is {self.seq_length}"
            )

    @classmethod
    def names(cls) -> list[str]:
        """The names of all fields."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def of_rows(cls) -> list[str]:
        """The names of those that rows and their tokens follow from, and of those that the recipe adds."""
        common = Settings.names()
        return [name for name in cls.names() if name in _OF_ROWS or name not in common]

    def replaced(
        self, changes: Mapping[str, Any], *, source: str = "", sourced: Collection[str] | None = None
    ) -> "TrainingSettings":
        """A copy with some values changed.

        Args:
            changes: values by field name.
            source: the file that they come from, for the error.
            sourced: the names of those that come from it; all when not given.

        Raises:
            InputError: a name is no setting, or a value is out of its range.
        """
        for name in changes:
            if name not in self.names():
                near = difflib.get_close_matches(str(name), self.names(), n=2)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise InputError(f"{source + ': ' if source else ''}no setting is called {name!r}{hint}")
        try:
            return dataclasses.replace(self, **changes)
        except InputError as error:
            option = str(error).split()[0].rstrip(":")
            if source and option in map(option_name, changes if sourced is None else sourced):
                raise InputError(f"{source}: {error}") from None
            raise

    def as_dict(self) -> dict[str, Any]:
        """All values by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What every recipe with an encoder lets you set. Recipes override the defaults, and may add fields.

    Raises:
        InputError: a value has the wrong type or is out of its range.

    Example:
        Settings(train="train.csv", epochs=3, learning_rate=5e-5)
    """

    prepared: str | None = setting(
        None, "Folder of rows that tfhub-ft prepare read, split and tokenized, in place of files.", path=True
    )
    encoder: str = setting("minilm-l6", "Encoder: a catalogue name, a TF Hub or Kaggle handle, a URL or a folder.")
    preprocessor: str | None = setting(None, "Preprocessor of the encoder, where it cannot be found from it.")
    dropout: float = setting(0.1, "Dropout before the head's last layer.", minimum=0, maximum=0.9)
    encoder_dropout: float | None = setting(
        None, "Dropout within the encoder; by default as it was trained.", minimum=0, maximum=0.9
    )
    freeze: str = setting("none", FREEZE_HELP)
    implementation: str = setting(
        "auto",
        "Of the encoder: native (faster; BERT, DistilBERT, ELECTRA and ALBERT as TF Hub has them), graph (the"
        " SavedModel's own), or auto (native where the family is known).",
        choices=("auto", "native", "graph"),
    )
    unfreeze: str | None = setting(
        None, "How many top layers train in each epoch, such as 0,2,4,all; the last goes on. Others wait their turn."
    )
    reinit_layers: int | None = setting(
        None, "Draw this many top layers and the pooler anew before training; 0 is the pooler alone.", minimum=0
    )

    lora_rank: int | None = setting(
        None, "LoRA: train updates of this rank, and leave the encoder's own weights as they are.", minimum=1
    )
    lora_alpha: float | None = setting(
        None, "LoRA: an update is scaled by this, divided by the rank; twice the rank by default.", minimum=0.01
    )
    lora_targets: str = setting(
        "query,value",
        "LoRA: which matrices: some of query, key, value, attention_output, intermediate, output and pooler.",
    )
    recompute: bool = setting(
        False, "Compute each layer once more for its gradients (gradient checkpointing): less memory, more time."
    )
    cache_features: bool = setting(
        True, "Run a frozen encoder once a row, and train what stands on it on its kept features."
    )
    layer_decay: float = setting(
        1.0, "Learning rate of each layer as a share of that of the layer above it.", minimum=0.01, maximum=1
    )

    jit_compile: bool = setting(
        False, "Compile training steps by XLA, for GPUs and TPUs; needs --padding buckets and a native encoder."
    )

    @property
    def pretrained(self) -> str:
        """What is fine-tuned, in words."""
        return f"encoder {self.encoder}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora_rank and self.unfreeze:
            raise InputError("--unfreeze: with --lora-rank the encoder's own weights never train; leave one out")
        if self.unfreeze and self.freeze != "none":
            raise InputError("--unfreeze says itself what trains: it needs --freeze none beside it")
        if self.unfreeze and self.unfreeze.count(",") >= self.epochs:
            raise InputError(f"--unfreeze {self.unfreeze}: names more epochs than --epochs {self.epochs}")
        if self.jit_compile and self.padding != "buckets":
            raise InputError("--jit-compile would compile a step for each length of rows: it needs --padding buckets")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings(Settings):
    """Settings of a recipe whose rows have labels."""

    min_label_rows: int = setting(
        0, "Drop labels with fewer rows than this in --data or --train, and the rows that have nothing else.", minimum=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings(LabelSettings):
    """Settings of a recipe that reads one text and its label from each row."""

    text_column: str | None = setting(None, "Column of the texts, where it is not called text, sentence, review ...")
    label_column: str | None = setting(None, "Column of the labels, where it is not called label, class, category ...")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoClassSettings(TextSettings):
    """Settings of a recipe that tells a positive label from another."""

    positive_label: str | None = setting(None, "Label that is looked for; by default the last one by name or number.")
    class_weight: str = setting(
        "none",
        "balanced: the rows of a rare label count more, so that both count the same.",
        choices=("none", "balanced"),
    )
    focal_gamma: float = setting(0.0, "Focal loss: how far rows already right are played down; 0 is off.", minimum=0)
    wanted_precision: float = setting(
        0.0,
        "Precision of the positive label that the threshold, chosen on validation, must have; 0 answers the likeliest.",
        minimum=0,
        maximum=0.999,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntentSettings(TextSettings):
    """Settings of a recipe whose texts may be out of scope."""

    out_of_scope_label: str = setting("oos", "Label of the rows that belong to no intent; there may be none.")
    in_scope_accuracy: float = setting(
        0.9,
        "Share of in-scope rows that must still be answered right when the threshold rejects others.",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelSettings(LabelSettings):
    """Settings of a recipe that reads a text and any number of labels from each row."""

    text_column: str | None = setting(None, "Column of the texts, where it is not called text, sentence, review ...")
    labels_column: str | None = setting(
        None,
        "Column of the lists of labels, where it is not called labels, tags ...; or several columns, with commas"
        " between them, each of which holds 1 or 0 for the label of its name.",
    )
    label_separator: str | None = setting(
        None, "Separator of the labels in a cell, such as ';'. Without it, lists and separators are detected."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_separator == "":
            raise InputError("--label-separator '': must not be empty; leave it out for detection")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PairColumns(Settings):
    first_column: str | None = setting(None, "Column of the first text, where it is not called sentence1, premise ...")
    second_column: str | None = setting(
        None, "Column of the second text, where it is not called sentence2, hypothesis ..."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSettings(_PairColumns, LabelSettings):
    """Settings of a recipe that reads two texts and their label from each row."""

    label_column: str | None = setting(None, "Column of the labels, where it is not called label, class, category ...")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredPairSettings(_PairColumns):
    """Settings of a recipe that reads two texts and a number from each row."""

    score_column: str | None = setting(None, "Column of the numbers, where it is not called score, similarity ...")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedSettings(Settings):
    """Settings of a recipe that reads long texts by overlapping windows."""

    seq_length: int = setting(128, "The most tokens of a window, [CLS] and [SEP] included.", minimum=8)
    overlap: int | None = setting(
        None, "Tokens that neighbouring windows of a long text share; a quarter of --seq-length by default.", minimum=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialogueSettings(TrainingSettings):
    """Settings of a recipe that fine-tunes a causal language model on dialogues."""

    language_model: str = setting(
        "smollm2-135m-instruct",
        "Causal language model: a name of the catalogue, a KerasHub preset (folder, name or handle), a .gguf file.",
    )
    seq_length: int = setting(512, "The most tokens of a dialogue, and of a sequence that has several.", minimum=16)
    messages_column: str | None = setting(None, "Column of the dialogues, lists of messages; messages by default.")
    prompt_column: str | None = setting(None, "Column of the prompts, where it is not called prompt, question ...")
    reply_column: str | None = setting(None, "Column of the replies, where it is not called reply, answer ...")
    system: str | None = setting(
        None, "System prompt of dialogues that have none; by default what the model's chat template says."
    )
    lora_rank: int = setting(8, "LoRA: train updates of this rank; 0 trains all of the model.", minimum=0)
    lora_alpha: float | None = setting(
        None, "LoRA: an update is scaled by this, divided by the rank; twice the rank by default.", minimum=0.01
    )
    lora_targets: str = setting(
        "query,value", "LoRA: which matrices, by KerasHub's names of their layers, such as query, key and value."
    )
    accumulate_steps: int = setting(
        1, "Training steps whose gradients are taken together: a batch that memory has no room for.", minimum=1
    )

    @property
    def pretrained(self) -> str:
        """What is fine-tuned, in words."""
        return f"language model {self.language_model}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a run teaches a smaller one.

    Raises:
        InputError: a value has the wrong type or is out of its range.
    """

    unlabelled: str | None = setting(
        None, "File of texts without labels, which are learnt from the teacher's answers alone.", path=True
    )
    temperature: float = setting(
        2.0, "What both models' logits are divided by when they are compared; above 1 softens them.", minimum=0.01
    )
    alpha: float = setting(
        0.8, "Share of the teacher in the loss of a labelled row; its own label has the rest.", minimum=0, maximum=1
    )
    hidden_weight: float = setting(
        0.0, "Weight of the mean squared difference between the hidden states of both; needs layers:N.", minimum=0
    )
    vocabulary: str = setting(
        "all",
        "domain keeps the embeddings of --seq-length positions and of the words that the rows use, and a small margin.",
        choices=("all", "domain"),
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.unlabelled and not self.alpha and not self.hidden_weight:
            raise InputError("--unlabelled: with --alpha 0 nothing is learnt from rows without labels")

    @classmethod
    def names(cls) -> list[str]:
        """The names of all fields."""
        return [field.name for field in dataclasses.fields(cls)]


def option_name(field_name: str) -> str:
    """The command-line option of a field: seq_length becomes --seq-length."""
    return "--" + field_name.replace("_", "-")


def value_type(field: dataclasses.Field) -> type:
    """The type of a field's values, `X | None` taken as `X`."""
    if isinstance(field.type, types.UnionType):
        return next(t for t in typing.get_args(field.type) if t is not types.NoneType)
    return field.type


def _check_strategy(name: str) -> None:
    """Raise an InputError where no strategy is called so."""
    if name == "parameter-server":
        raise InputError(NO_PARAMETER_SERVERS)
    if name not in STRATEGIES and not name.startswith("tpu:"):
        raise InputError(f"--strategy {name}: must be one of {', '.join(STRATEGIES)}, or tpu:NAME")


def _check_fields(settings: Any) -> None:
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, _checked(field, getattr(settings, field.name)))


def _checked(field: dataclasses.Field, value: Any) -> Any:
    option, kind, limits = option_name(field.name), value_type(field), field.metadata
    if value is None and field.default is None:
        return None
    if limits["path"]:
        return str(check_path(option, value, "the path of a file (str or Path)"))
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, str | int | float | os.PathLike | None):
        raise InputError(f"{option}: is {type_name(value)}; expected {_article(kind)}")
    if kind is str and isinstance(value, os.PathLike | int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        check_no_nul(option, value)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = _number(option, value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{option} {value!r}: must be {_article(kind)}")
    if kind is float and not math.isfinite(value):
        raise InputError(f"{option} {value}: must be a finite number")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise InputError(f"{option} {value}: must be at least {limits['minimum']}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise InputError(f"{option} {value}: must be at most {limits['maximum']}")
    if limits["choices"] and value not in limits["choices"]:
        raise InputError(f"{option} {value}: must be one of {', '.join(limits['choices'])}")
    return value


def _number(option: str, value: int | str) -> float:
    # YAML reads 5e-5 as a text: it wants 5.0e-5.
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{option} {value!r}: must be a number") from None


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
