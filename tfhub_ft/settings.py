"""Settings: a field is a keyword argument, a command-line option and a YAML key."""

import dataclasses
import functools
import math
import os
import types
import typing
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from tfhub_ft.encoders.packing import LONG_TEXTS, MAX_WINDOWS, max_text_overlap
from tfhub_ft.utils.arguments import check_no_nul, check_path, check_type, type_name
from tfhub_ft.utils.documents import parse_json, read_json, read_yaml
from tfhub_ft.utils.errors import InputError, did_you_mean
from tfhub_ft.utils.templates import Template

Group = Literal["Data", "Model", "Training", "Fine-tuning method", "Runtime"]
STRATEGIES = ("one", "mirrored", "multi-worker", "tpu")
NO_PARAMETER_SERVERS = (
    "--strategy parameter-server: not supported by Keras 3; use multi-worker, which trains on as many machines and"
    " loses no work when one of them fails"
)
NO_WINDOWS_ON_TPU = (
    "--long-texts windows: not available with --strategy tpu, where all batches have one shape; use head-tail"
)
DATA = ("train", "validation", "test", "data", "prepared")
_READING = ("skip_bad_rows", "delimiter", "encoding", "header")
_ROW_SETTINGS = ("train", "validation", "test", "data", *_READING, "encoder", "preprocessor", "seq_length", "seed")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_TEXT_COLUMN_HELP = "Column of the texts; by default found by its name (text, sentence, review, ...)."
_LABEL_COLUMN_HELP = "Column of the labels; by default found by its name (label, class, category, ...)."
_SCORE_COLUMN_HELP = "Column of the numbers; by default found by its name (score, rating, stars, ...)."
_TEMPLATE_HELP = "Template of {} from several columns, whose names are in braces, such as '{{title}}. {{body}}'."
# The setting with the template of a text by the setting with the name of its column.
TEMPLATES = {
    "text_column": "text",
    **{f"{text}_column": f"{text}_text" for text in ("first", "second", "prompt", "reply")},
}
# Columns of rows that have either of two layouts.
_LAYOUTS = (
    (("tokens_column", "tags_column"), ("text_column", "entities_column")),
    (("messages_column",), ("prompt_column", "reply_column")),
)
# Settings that apply to --long-texts windows only, with their defaults.
WINDOW_SETTINGS = {"overlap": None, "window_pooling": "mean", "max_windows": MAX_WINDOWS}
# Files whose columns may have other names than those of --train.
_OTHER_FILES = ("validation", "test")
_LORA_ALPHA_HELP = "LoRA alpha: updates are scaled by alpha / rank; by default twice the rank."
_T = TypeVar("_T")
_Training = TypeVar("_Training", bound="TrainingSettings")


def setting(
    default: _T,
    help: str,
    *,
    group: Group = "Data",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    path: bool = False,
    parse: Callable[[str, Any], Any] | None = None,
) -> _T:
    """Declare a documented field of a settings class.

    Args:
        default: The default value.
        help: The help text: a noun phrase that explains the value.
        group: The heading in `--help`: "Data", "Model", "Training", "Fine-tuning method" or "Runtime".
        minimum: The smallest allowed value.
        maximum: The largest allowed value.
        choices: The allowed values.
        path: Whether the value is the path of a file, relative to the working directory.
        parse: Takes the option and the value and returns the checked one, in place of the other checks.

    Returns:
        A dataclass field.

    Example:
        @dataclasses.dataclass(frozen=True, kw_only=True)
        class ReviewSettings(Settings):
            stars_column: str | None = setting(None, "Column of the stars.")
    """
    metadata = {"help": help, "group": group, "minimum": minimum, "maximum": maximum, "choices": choices, "path": path}
    metadata |= {"parse": parse}
    return dataclasses.field(default=default, metadata=metadata)


def names_columns(name: str) -> bool:
    """Return whether a setting names a column of the rows, or several ones in a template."""
    name = name.removeprefix("validation_").removeprefix("test_")
    return (name.endswith("_column") and name != "weight_column") or name in TEMPLATES.values()


def column_changes(columns: Mapping[str, str]) -> dict[str, str | None]:
    """Return settings of columns with None for those that they replace: templates, columns and other layouts."""
    pairs = {**TEMPLATES, **{template: column for column, template in TEMPLATES.items()}}
    replaced = {pairs[name] for name in columns if name in pairs}
    for layout, other in (*_LAYOUTS, *(each[::-1] for each in _LAYOUTS)):
        replaced |= {*other} if columns.keys() & {*layout} else set()
    return {**dict.fromkeys(sorted(replaced - columns.keys())), **columns}


def option_name(field_name: str) -> str:
    """Return the command-line option of a field, such as --seq-length for seq_length."""
    # `from` is a keyword of Python.
    return "--from" if field_name == "from_run" else "--" + field_name.replace("_", "-")


_model = functools.partial(setting, group="Model")
_training = functools.partial(setting, group="Training")
_fine_tuning = functools.partial(setting, group="Fine-tuning method")
_runtime = functools.partial(setting, group="Runtime")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _CheckedFields:
    """Values that are checked against the types and limits of their fields."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all fields."""
        return [field.name for field in dataclasses.fields(cls)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings(_CheckedFields):
    """Settings that every recipe has, whatever model it trains.

    Raises:
        InputError: A value has the wrong type or is out of range.

    Example:
        TrainingSettings(train="train.csv", epochs=3)
    """

    train: str | None = setting(
        None, "Training rows: a file in a format of this recipe, a pattern, a folder or a URL.", path=True
    )
    validation: str | None = setting(
        None, "Validation rows, which select the best epoch; by default 15% of --train are held out.", path=True
    )
    test: str | None = setting(None, "Test rows, scored once after training.", path=True)
    data: str | None = setting(
        None, "One file in place of --train, --validation and --test, split 70/15/15, stratified, by --seed.", path=True
    )
    skip_bad_rows: bool = setting(False, "Count and skip malformed rows, instead of failing at the first one.")
    copy_data: bool = setting(
        False, "Copy the rows into the run folder, for compare, distill and --resume without the original rows."
    )
    delimiter: str | None = setting(
        None, "Delimiter of CSV and TSV files: one character, such as ';', or tab; detected by default."
    )
    encoding: str | None = setting(
        None, "Encoding of text files, such as cp1252; by default that of the byte order mark, or UTF-8."
    )
    header: bool = setting(
        True, "Whether CSV, TSV and Excel files start with a header line; without one, columns are named 1, 2, ..."
    )

    seq_length: int = _model(128, "Maximum sequence length, including [CLS] and [SEP].", minimum=3)

    epochs: int = _training(
        3, "Number of training epochs; by default small data sets train longer, see --min-steps.", minimum=1
    )
    batch_size: int = _training(32, "Batch size, summed over all replicas.", minimum=1)
    learning_rate: float = _training(5e-5, "Peak learning rate, reached after warmup.", minimum=0)
    warmup: float = _training(0.1, "Fraction of the steps that warm up the learning rate from 0.", minimum=0, maximum=1)
    weight_decay: float = _training(0.01, "AdamW weight decay of all weights except biases and norms.", minimum=0)
    clip_norm: float = _training(1.0, "Maximum global gradient norm; 0 disables clipping.", minimum=0)
    patience: int = _training(
        2, "Number of epochs without a better --monitor before training stops; 0 never stops early.", minimum=0
    )
    monitor: str | None = _training(
        None,
        "Validation score that selects the best epoch: any score of the table, such as accuracy, f1_macro or log_loss;"
        " by default that of the recipe.",
    )
    min_steps: int = _training(
        100, "Minimum number of training steps if --epochs is not given; --patience scales along.", minimum=0
    )
    batch_tokens: int = _training(
        0, "Tokens in a batch, including padding, in place of --batch-size; 0 counts rows.", minimum=0
    )
    padding: str = _training(
        "longest",
        'Batch padding: "longest" pads to the longest row of the batch, "buckets" to a few fixed lengths (for XLA and'
        " TPU).",
        choices=("longest", "buckets"),
    )
    seed: int = _training(0, "Random seed.", minimum=0, maximum=2**31 - 2)
    precision: str = _runtime(
        "auto",
        "Compute dtype: float32, bfloat16, float16 (for GPUs without bfloat16), or auto (bfloat16 where the hardware"
        " is fast at it).",
        choices=PRECISIONS,
    )
    strategy: str = _runtime(
        "one",
        "Distribution strategy: one (device), mirrored (all GPUs of this machine), multi-worker (processes described"
        " by $TF_CONFIG or SLURM), or tpu[:NAME].",
    )
    track: str | None = _runtime(
        None,
        "Experiment tracker: mlflow (the server at $MLFLOW_TRACKING_URI) or wandb (Weights & Biases).",
        choices=("mlflow", "wandb"),
    )

    # Settings that only some recipes have; without annotations, these are not fields.
    from_run = typing.cast(str | None, None)
    prepared = typing.cast(str | None, None)
    jit_compile = False
    cache_features = False
    accumulate_steps = 1
    lora_rank = typing.cast(int | None, None)
    lora_alpha = typing.cast(float | None, None)
    lora_targets = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Add a setting for --validation and one for --test to each setting of a column."""
        super().__init_subclass__(**kwargs)
        annotations = cls.__dict__.get("__annotations__", {})
        for name in filter(names_columns, list(annotations)):
            for split in _OTHER_FILES:
                annotations[f"{split}_{name}"] = str | None
                help = f"{option_name(name)} of --{split}, if its columns differ from those of --train."
                setattr(cls, f"{split}_{name}", setting(None, help))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_templates()
        if self.strategy == "parameter-server":
            raise InputError(NO_PARAMETER_SERVERS)
        if self.strategy not in STRATEGIES and not self.strategy.startswith("tpu:"):
            raise InputError(f"--strategy {self.strategy}: must be one of {', '.join(STRATEGIES)}, or tpu:NAME")
        if self.data and (self.train or self.validation or self.test):
            raise InputError(
                "--data: cannot be combined with --train, --validation or --test; pass either --data or those files"
            )
        if self.prepared and (self.data or self.train):
            raise InputError(
                f"--prepared {self.prepared}: cannot be combined with --data or --train; pass either that folder or"
                " files"
            )
        if not self.train and (self.validation or self.test):
            raise InputError(f"--{'validation' if self.validation else 'test'}: requires --train; pass both")
        if 0 < self.batch_tokens < self.seq_length:
            raise InputError(
                f"--batch-tokens {self.batch_tokens}: must be at least --seq-length, which is {self.seq_length}"
            )

    def _check_templates(self) -> None:
        for column_name, template_name in TEMPLATES.items():
            for prefix in ("", *(f"{split}_" for split in _OTHER_FILES)):
                option, template = option_name(prefix + template_name), getattr(self, prefix + template_name, None)
                if template is None:
                    continue
                Template(template, option)
                if getattr(self, prefix + column_name, None):
                    raise InputError(
                        f"{option}: cannot be combined with {option_name(prefix + column_name)}; pass one of the two"
                    )

    def columns(self) -> dict[str, str]:
        """Return the settings that name columns of the training rows, as far as they are set."""
        prefixes = tuple(f"{split}_" for split in _OTHER_FILES)
        names = [name for name in self.names() if names_columns(name) and not name.startswith(prefixes)]
        return {name: value for name in names if (value := getattr(self, name))}

    def of_file(self: _Training, split: str) -> _Training:
        """Return the settings that read the file of a split, with the names of its columns."""
        columns = {
            name: value for name in self.names() if (value := getattr(self, f"{split}_{name}", None)) is not None
        }
        return self.with_columns(columns) if columns else self

    def with_columns(self: _Training, columns: Mapping[str, str]) -> _Training:
        """Return the settings with other names of columns, which replace templates and names of another layout."""
        return self.replaced({name: value for name, value in column_changes(columns).items() if name in self.names()})

    @property
    def pretrained(self) -> str:
        """The pretrained model, as messages name it."""
        raise NotImplementedError

    @classmethod
    def row_names(cls) -> list[str]:
        """Return the names of the settings that determine rows and tokens, including those that the recipe adds."""
        common = Settings.names()
        return [
            field.name
            for field in dataclasses.fields(cls)
            if field.name in _ROW_SETTINGS or (field.name not in common and field.metadata["group"] != "Training")
        ]

    def replaced(
        self: _Training, changes: Mapping[str, Any], *, source: str = "", sourced: Collection[str] | None = None
    ) -> _Training:
        """Return a copy with some values changed.

        Args:
            changes: Values by field name.
            source: The file that values come from, named in errors.
            sourced: The names of the values from that file; by default all.

        Raises:
            InputError: A name is not a setting, or a value is out of range.
        """
        for name in changes:
            if name not in self.names():
                hint = did_you_mean(str(name), self.names())
                raise InputError(f"{source + ': ' if source else ''}unknown setting {name!r}{hint and f'; {hint}'}")
        try:
            return dataclasses.replace(self, **changes)
        except InputError as error:
            option = str(error).split()[0].rstrip(":")
            if source and option in map(option_name, changes if sourced is None else sourced):
                raise InputError(f"{source}: {error}") from None
            raise

    def as_dict(self) -> dict[str, Any]:
        """Return all values by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """Settings of recipes with a text encoder. Recipes override defaults and may add fields.

    Raises:
        InputError: A value has the wrong type or is out of range.

    Example:
        Settings(train="train.csv", epochs=3, learning_rate=5e-5)
    """

    prepared: str | None = setting(
        None, "Folder of tokenized rows written by tfhub-ft prepare, in place of files.", path=True
    )
    from_run: str | None = _model(
        None,
        "Finished run to continue from: its encoder, head, labels and model settings; new labels are added.",
        path=True,
    )
    encoder: str = _model(
        "minilm-l6",
        "Encoder: a catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder; downloads are cached in"
        " $TFHUB_FT_CACHE.",
    )
    preprocessor: str | None = _model(
        None, "Preprocessor, if the encoder does not determine it: a handle, a URL or a SavedModel folder."
    )
    dropout: float = _model(0.1, "Dropout rate before the output layer.", minimum=0, maximum=0.9)
    encoder_dropout: float | None = _model(
        None, "Dropout rate inside the encoder; by default that of its pretraining.", minimum=0, maximum=0.9
    )
    implementation: str = _model(
        "auto",
        "Encoder implementation: native (faster; for BERT, DistilBERT, ELECTRA and ALBERT from TF Hub), graph (that"
        " of the SavedModel), or auto (native for these architectures, otherwise graph).",
        choices=("auto", "native", "graph"),
    )
    freeze: str = _fine_tuning(
        "none",
        "Encoder layers to freeze: none, embeddings, N (embeddings and the lowest N layers), all-but-N (all but the"
        " top N layers and the pooler), all-but-pooler, or all.",
    )
    unfreeze: str | None = _fine_tuning(
        None, "Number of top layers to train in each epoch, such as 0,2,4,all; later epochs repeat the last number."
    )
    reinit_layers: int | None = _fine_tuning(
        None,
        "Re-initialize the top N layers and the pooler before training; 0 re-initializes the pooler only.",
        minimum=0,
    )
    layer_decay: float = _fine_tuning(
        1.0, "Ratio of the learning rate of each layer to that of the layer above it.", minimum=0.01, maximum=1
    )
    lora_rank: int | None = _fine_tuning(
        None, "LoRA rank; trains low-rank updates and freezes the encoder's weights.", minimum=1
    )
    lora_alpha: float | None = _fine_tuning(None, _LORA_ALPHA_HELP, minimum=0.01)
    lora_targets: str = _fine_tuning(
        "query,value", "LoRA targets: a list of query, key, value, attention_output, intermediate, output and pooler."
    )
    cache_features: bool = _fine_tuning(True, "Precompute the features of a frozen encoder and train only the head.")
    recompute: bool = _runtime(
        False, "Gradient checkpointing: recompute each layer's activations for less memory and more time."
    )
    jit_compile: bool = _runtime(
        False, "Compile training steps with XLA, for GPUs and TPUs; requires --padding buckets and a native encoder."
    )

    @property
    def pretrained(self) -> str:
        """The encoder, as messages name it."""
        return f"encoder {self.encoder}"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora_rank and self.unfreeze:
            raise InputError(
                "--unfreeze: cannot be combined with --lora-rank, which freezes the encoder's weights; remove one"
            )
        if self.unfreeze and self.freeze != "none":
            raise InputError(f"--unfreeze: cannot be combined with --freeze {self.freeze}; remove one")
        if self.unfreeze and self.unfreeze.count(",") >= self.epochs:
            raise InputError(f"--unfreeze {self.unfreeze}: names more epochs than --epochs {self.epochs}")
        if self.jit_compile and self.padding != "buckets":
            raise InputError("--jit-compile: requires --padding buckets; otherwise each row length compiles a new step")


def _parse_class_weight(option: str, value: Any) -> str | dict[str, float]:
    """Return "none", "balanced" or weights by label, given as a mapping, as the text of a JSON object or as a file."""
    if isinstance(value, str) and value in ("none", "balanced"):
        return value
    source = option
    if isinstance(value, str | os.PathLike):
        value, source = _read_class_weight(option, str(check_path(option, value)))
    if not isinstance(value, Mapping):
        raise InputError(f"{source}: expected a weight by label, such as {{spam: 5, ham: 1}}, got {type_name(value)}")
    weights: dict[str, float] = {}
    for label, weight in value.items():
        try:
            number = math.nan if isinstance(weight, bool) else float(weight)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise InputError(f"{source}: the weight of {str(label)!r} is {weight!r}; must be a number of at least 0")
        # YAML reads yes and no as booleans.
        name = str(label).lower() if isinstance(label, bool) else str(label).strip()
        weights[unicodedata.normalize("NFC", name)] = number
    if not any(weights.values()):
        raise InputError(f"{source}: at least one label must have a weight above 0")
    return weights


def _read_class_weight(option: str, value: str) -> tuple[Any, str]:
    """Return the content of a JSON object or of a file, and how errors name it."""
    if value.lstrip().startswith("{"):
        try:
            return parse_json(value), option
        except ValueError as error:
            raise InputError(f"{option} {value}: not a JSON object ({error})") from None
    path = Path(value)
    if not path.exists():
        hint = did_you_mean(value, ("none", "balanced")) or "must be none, balanced or a JSON or YAML file of weights"
        raise InputError(f"{option} {value}: not found; {hint}")
    try:
        return (read_json if path.suffix == ".json" else read_yaml)(path), f"{option} {value}"
    except InputError as error:
        raise InputError(f"{option} {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WeightedRows(Settings):
    weight_column: str | None = setting(
        None,
        "Column of row weights, numbers of at least 0 that scale the loss of training rows; scores are not weighted.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings(_WeightedRows):
    """Settings of recipes whose rows have labels."""

    min_label_rows: int = setting(
        0, "Minimum number of rows of a label in --data or --train; rarer labels and their rows are dropped.", minimum=0
    )
    class_weight: str | dict[str, float] = _training(
        typing.cast(str | dict[str, float], "none"),
        "Class weights: balanced gives all labels the same total weight (multilabel: positives as much as negatives),"
        " or a JSON or YAML file of weights by label, which are 1 for other labels.",
        parse=_parse_class_weight,
    )
    focal_gamma: float = _training(0.0, "Focal loss gamma; down-weights easy examples. 0 disables it.", minimum=0)
    label_smoothing: float = _training(
        0.0, "Share of each target that is spread over all labels; 0 disables it.", minimum=0, maximum=0.9
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ClassSettings(LabelSettings):
    positive_label: str | None = setting(
        None, "Positive label, if there are two labels; by default the last one by name or number."
    )
    wanted_precision: float = _training(
        0.0,
        "Minimum precision of the positive label, if there are two labels, reached by a threshold fitted on the"
        " validation rows; 0 predicts the most probable label.",
        minimum=0,
        maximum=0.999,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongTextSettings(Settings):
    """Settings of recipes that read one text, which may be long, from each row."""

    text_column: str | None = setting(None, _TEXT_COLUMN_HELP)
    text: str | None = setting(None, _TEMPLATE_HELP.format("the text"))
    long_texts: str = _model(
        "truncate",
        "What is read of texts longer than --seq-length: truncate reads the first tokens, head-tail a quarter from the"
        " start and the rest from the end, windows everything, in overlapping windows with pooled logits.",
        choices=LONG_TEXTS,
    )
    overlap: int | None = _model(
        None,
        "Number of tokens shared by neighboring windows of --long-texts windows; by default a quarter of --seq-length.",
        minimum=0,
    )
    window_pooling: str = _model(
        "mean",
        "Pooling of --long-texts windows: mean (of the logits of a text's windows) or max (the highest logit of each"
        " class).",
        choices=("mean", "max"),
    )
    max_windows: int = _model(
        MAX_WINDOWS,
        "Maximum number of windows of a text with --long-texts windows; the rest of a longer text is truncated.",
        minimum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.long_texts != "windows":
            for name, default in WINDOW_SETTINGS.items():
                if (value := getattr(self, name)) != default:
                    option = option_name(name)
                    raise InputError(f"{option} {value}: unused without --long-texts windows; add it, or omit {option}")
            return
        max_overlap = max_text_overlap(self.seq_length)
        if self.overlap is not None and self.overlap > max_overlap:
            raise InputError(
                f"--overlap {self.overlap}: must be at most {max_overlap} with --seq-length {self.seq_length}"
            )
        if self.strategy.startswith("tpu"):
            raise InputError(NO_WINDOWS_ON_TPU)
        if self.jit_compile:
            raise InputError(
                "--jit-compile: not available with --long-texts windows, whose steps have any number of windows; remove"
                " one"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _LabeledTexts(LongTextSettings):
    label_column: str | None = setting(None, _LABEL_COLUMN_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings(_LabeledTexts, _ClassSettings):
    """Settings of recipes that read one text and its label from each row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoClassSettings(TextSettings):
    """Settings of recipes that classify texts as positive or negative, which are those of `TextSettings`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntentSettings(_LabeledTexts, LabelSettings):
    """Settings of recipes whose texts may be out of scope."""

    out_of_scope_label: str = setting("oos", "Label of the rows that belong to no intent; optional in the data.")
    in_scope_accuracy: float = _training(
        0.9,
        "Minimum accuracy on in-scope validation rows, with rejected rows as errors, that the threshold must keep.",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelSettings(LabelSettings, LongTextSettings):
    """Settings of recipes that read a text and any number of labels from each row."""

    labels_column: str | None = setting(
        None,
        "Column of the lists of labels, or a comma-separated list of columns named after labels that contain 1 or 0;"
        " by default found by its name (labels, tags, ...).",
    )
    label_separator: str | None = setting(
        None, "Separator of the labels in a cell, such as ';'; lists and separators are detected by default."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_separator == "":
            raise InputError("--label-separator '': must not be empty; omit it to detect the separator")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PairColumns(Settings):
    first_column: str | None = setting(
        None, "Column of the first texts; by default found by its name (sentence1, premise, ...)."
    )
    second_column: str | None = setting(
        None, "Column of the second texts; by default found by its name (sentence2, hypothesis, ...)."
    )
    first_text: str | None = setting(None, _TEMPLATE_HELP.format("the first text"))
    second_text: str | None = setting(None, _TEMPLATE_HELP.format("the second text"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSettings(_PairColumns, _ClassSettings):
    """Settings of recipes that read two texts and their label from each row."""

    label_column: str | None = setting(None, _LABEL_COLUMN_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredPairSettings(_PairColumns, _WeightedRows):
    """Settings of recipes that read two texts and a number from each row."""

    score_column: str | None = setting(None, _SCORE_COLUMN_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredTextSettings(LongTextSettings, _WeightedRows):
    """Settings of recipes that read one text and a number from each row."""

    score_column: str | None = setting(None, _SCORE_COLUMN_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedSettings(Settings):
    """Settings of recipes that read long texts in overlapping windows."""

    seq_length: int = _model(128, "Maximum length of a window in tokens, including [CLS] and [SEP].", minimum=8)
    overlap: int | None = _model(
        None, "Number of tokens shared by neighboring windows; by default a quarter of --seq-length.", minimum=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialogueSettings(TrainingSettings):
    """Settings of recipes that fine-tune a causal language model on dialogues."""

    language_model: str = _model(
        "smollm2-135m-instruct",
        "Causal language model: a catalog name, a KerasHub preset (folder, name or handle) or a .gguf file; downloads"
        " are cached in $TFHUB_FT_CACHE.",
    )
    seq_length: int = _model(512, "Maximum sequence length; a sequence holds one or several dialogues.", minimum=16)
    messages_column: str | None = setting(None, 'Column of the dialogues, lists of messages; by default "messages".')
    prompt_column: str | None = setting(
        None, "Column of the prompts; by default found by its name (prompt, question, ...)."
    )
    reply_column: str | None = setting(
        None, "Column of the replies; by default found by its name (reply, answer, ...)."
    )
    system: str | None = setting(None, "System prompt of dialogues without one; by default that of the chat template.")
    lora_rank: int = _fine_tuning(8, "LoRA rank; 0 trains all weights of the model.", minimum=0)
    lora_alpha: float | None = _fine_tuning(None, _LORA_ALPHA_HELP, minimum=0.01)
    lora_targets: str = _fine_tuning(
        "query,value", "LoRA targets: a list of KerasHub layer names, such as query, key and value."
    )
    accumulate_steps: int = _training(
        1, "Number of steps to accumulate gradients over, for batches that do not fit in memory.", minimum=1
    )

    @property
    def pretrained(self) -> str:
        """The language model, as messages name it."""
        return f"language model {self.language_model}"


# How version 0.1 spelled the setting `unlabeled`.
OLD_UNLABELED = "unlabelled"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(_CheckedFields):
    """Settings of the distillation of a run into a student."""

    unlabeled: str | None = setting(
        None, "File of unlabeled texts, on which the student learns from the teacher's predictions alone.", path=True
    )
    temperature: float = _training(
        2.0, "Softmax temperature of teacher and student in the loss; above 1 softens.", minimum=0.01
    )
    alpha: float = _training(
        0.8, "Weight of the teacher in the loss of a labeled row; its label has the rest.", minimum=0, maximum=1
    )
    hidden_weight: float = _training(
        0.0, "Weight of the mean squared error between the hidden states; requires layers:N.", minimum=0
    )
    vocabulary: str = _model(
        "all",
        "Embeddings to keep: domain keeps those of the tokens in the rows, with a small margin, and of --seq-length"
        " positions.",
        choices=("all", "domain"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlabeled and not self.alpha and not self.hidden_weight:
            raise InputError("--unlabeled: unused with --alpha 0 and --hidden-weight 0; increase one or omit it")


def value_type(field: dataclasses.Field) -> type:
    """Return the type of a field's values, which is `X` for `X | None`."""
    if isinstance(field.type, types.UnionType):
        return next(t for t in typing.get_args(field.type) if t is not types.NoneType)
    assert isinstance(field.type, type)
    return field.type


def _checked(field: dataclasses.Field, value: Any) -> Any:
    option, kind, limits = option_name(field.name), value_type(field), field.metadata
    if limits["parse"]:
        return limits["parse"](option, value)
    expected = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind]
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None and field.default is None:
        return None
    if field.name.endswith("_label") and isinstance(value, bool | float):
        value = str(value).lower().removesuffix(".0")
    if limits["path"]:
        return str(check_path(option, value, "the path of a file (str or Path)"))
    check_type(option, value, (str, int, float, bool, os.PathLike, types.NoneType), expected)
    if kind is str and isinstance(value, os.PathLike | int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        check_no_nul(option, value)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        # YAML reads 5e-5 as a string.
        try:
            value = float(value)
        except (ValueError, OverflowError):
            raise InputError(f"{option} {value!r}: must be a number") from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{option} {value!r}: must be {expected}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{option} {value}: must be a finite number")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise InputError(f"{option} {value}: must be at least {limits['minimum']}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise InputError(f"{option} {value}: must be at most {limits['maximum']}")
    if limits["choices"] and value not in limits["choices"]:
        raise InputError(f"{option} {value}: must be one of {', '.join(limits['choices'])}")
    return value
