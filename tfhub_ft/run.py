"""The run folder: the files of a training run, written and read here only.

recipe.yaml    every setting, resolved
recipe.py      of a recipe file: a copy, from which the run is opened
labels.json    the labels, in the order of the logits
thresholds.json  the thresholds that turn logits into predictions, fitted on the validation rows
calibration.json  the temperature that the logits were divided by, fitted on the validation rows
splits.json    which rows of which file were train, validation and test
sample.jsonl   some validation rows, which exports are verified on
kept_rows.jsonl  rows with their labels, for commands that need some after the data files are gone
rows/          with --copy-data: all rows, a file for each split
warnings.json  the warnings of the run
history.csv    a row for each epoch
predictions.csv  the texts, the label and the prediction of each test row
metrics.json   {"train": {...}, "validation": {...}, "test": {...}}
report.html    the same and more, with plots
model.keras    the text-in model of the best epoch; loads without cache and network
adapter.safetensors  of a run with LoRA: the low-rank updates alone, which are merged into model.keras
repeats.json   of the kept run of several seeds or folds: the scores of all of them
keras.json     of a run with callbacks, metrics or an optimizer of Keras: their classes
distillation.yaml  of a distilled run: its teacher and the settings of the distillation
checkpoints/   until the training ends: the weights of the last and of the best epoch, to resume from
logs/          for TensorBoard
tracking.json  of a run with --track: its id in the tracker
"""

import contextlib
import csv
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.formats.csv import FIELD_LIMIT
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.labels import DROPPED
from tfhub_ft.data.locations import content_fault, find_rows
from tfhub_ft.data.memory_rows import MemoryRows, is_in_memory
from tfhub_ft.data.row_copies import COPY, FOLDER, copy_path, write_copies
from tfhub_ft.data.rows import Row
from tfhub_ft.recipe import Recipe, load_known_recipe, load_recipe, recipe_name
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.tasks.base import default_thresholds, num_classes
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.documents import check_distinct, check_shape, parse_json, read_json, read_yaml
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import (
    atomic_write,
    contents,
    locked,
    remove_stale_scratch,
    sha256_of,
    write_fault,
    write_json,
    write_text,
)
from tfhub_ft.utils.remote import as_path
from tfhub_ft.utils.saved_graph import check_archive

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.datasets import Dataset

RECIPE, RECIPE_FILE = "recipe.yaml", "recipe.py"
LABELS, SPLITS, SAMPLE = "labels.json", "splits.json", "sample.jsonl"
THRESHOLDS, CALIBRATION, REPORT = "thresholds.json", "calibration.json", "report.html"
# The name of thresholds.json in version 0.1.
DECISION = "decision.json"
HISTORY, METRICS, MODEL, CHECKPOINTS = "history.csv", "metrics.json", "model.keras", "checkpoints"
STATE, LOGS = "state.json", "logs"
# The weights that a run started from, in checkpoints/, if it continues from another one.
START = "start.weights.h5"
STATE_SHAPE = {"epochs": [dict], "best_epoch": (int, type(None)), "last": (str, type(None)), "stopped": bool}
# The entries of recipe.yaml that are not settings.
ORIGIN = ("recipe", "recipe_sha256", "from_run_sha256", "tfhub_ft")
PREDICTIONS, REPEATS = "predictions.csv", "repeats.json"
DISTILLATION, ADAPTER, KERAS = "distillation.yaml", "adapter.safetensors", "keras.json"
TRACKED, WARNINGS, KEPT_ROWS = "tracking.json", "warnings.json", "kept_rows.jsonl"


_RESULTS = (
    RECIPE, RECIPE_FILE, LABELS, SPLITS, SAMPLE, KEPT_ROWS, THRESHOLDS, DECISION, CALIBRATION, REPORT, HISTORY, METRICS,
    MODEL, PREDICTIONS, REPEATS, DISTILLATION, ADAPTER, KERAS, TRACKED,
)  # fmt: skip


def run_files(folder: Path) -> list[Path]:
    """Return the files of a run folder that only training may write; none for other folders."""
    copies = [copy_path(folder, split) for split in ("train", "validation", "test")]
    return [*(folder / name for name in _RESULTS), *copies] if (folder / RECIPE).is_file() else []


class Run:
    """A run folder, as `train` returns it.

    Args:
        path: The folder.

    Raises:
        InputError: The path is not a run folder.

    Example:
        run = Run("runs/reviews")
        run.metrics["test"]["accuracy"]
    """

    def __init__(self, path: str | Path):
        self.path = check_path("run", path, "a run, or the path of its folder (str or Path)")
        if not (self.path / RECIPE).is_file():
            fault = f"not a run folder ({RECIPE} not found)" if self.path.exists() else "not found"
            if (self.path / REPEATS).is_file():
                raise InputError(f"{self.path}: its seeds or folds are not all trained; continue with --resume")
            raise InputError(f"{self.path}: {fault}; pass a folder written by tfhub-ft train")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __reduce__(self) -> "tuple[type[Run], tuple[Path]]":
        return Run, (self.path.absolute(),)

    @classmethod
    def create(
        cls,
        path: Path,
        recipe_name: str,
        settings: TrainingSettings,
        labels: list[str],
        splits: dict,
        source: bytes | None = None,
        copied_rows: Mapping[str, Sequence[Row]] | None = None,
    ) -> "Run":
        """Create the folder of a run that is about to start; recipe.yaml, which makes it a run, is written last.

        `copied_rows` has the rows of each split that are copied into the folder.
        """
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / LABELS, labels)
        if copied_rows:
            copies = write_copies(path, copied_rows)
            splits = {name: {**entry, COPY: copies[name]} for name, entry in splits.items()}
        write_json(path / SPLITS, splits)
        origin = {"recipe": recipe_name}
        if source is not None:
            with atomic_write(path / RECIPE_FILE) as temporary:
                temporary.write_bytes(source)
            origin = {
                "recipe": str(Path(recipe_name).resolve()),
                "recipe_sha256": hashlib.sha256(source).hexdigest(),
            }
        if settings.from_run:
            origin["from_run_sha256"] = sha256_of(Path(settings.from_run) / MODEL)
        cls._write_settings(path, origin, settings)
        return cls(path)

    @staticmethod
    def is_partial(path: Path) -> bool:
        """Return whether a folder contains only files that `create` wrote before its process was killed."""
        shapes = {LABELS: [str], SPLITS: dict}
        names = [name for name in contents(path) if name not in (RECIPE_FILE, FOLDER)]
        try:
            return bool(names) and all(name in shapes and read_json(path / name, shapes[name]) for name in names)
        except InputError:
            return False

    @staticmethod
    def _write_settings(path: Path, origin: dict[str, str], settings: TrainingSettings) -> None:
        import yaml

        from tfhub_ft.utils.version import __version__

        content = {**origin, "tfhub_ft": __version__, **settings.as_dict()}
        write_text(path / RECIPE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    @property
    def recipe_name(self) -> str:
        """Name of the recipe, or the path of its file."""
        name = self._yaml["recipe"]
        return name if name.endswith(".py") else recipe_name(name)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe; raises an InputError for a recipe file that this user has not trained with, without --trust."""
        origin, sha256 = Path(self.recipe_name), self._yaml.get("recipe_sha256")
        with self._naming_version():
            if not self.recipe_name.endswith(".py"):
                try:
                    return load_recipe(self.recipe_name)
                except InputError as error:
                    raise InputError(f"{self.path / RECIPE}: {error}") from None
            # Earlier versions did not copy the file.
            return load_known_recipe(self.path / RECIPE_FILE if sha256 else origin, origin, sha256)

    @cached_property
    def settings(self) -> TrainingSettings:
        """The settings of the training."""
        values = {k: v for k, v in self._yaml.items() if k not in ORIGIN}
        with self._naming_version():
            return self.recipe.settings.replaced(values, source=str(self.path / RECIPE))

    @property
    def from_run_sha256(self) -> str | None:
        """The SHA-256 of the model that this run continued from; None for other runs."""
        return self._yaml.get("from_run_sha256")

    @cached_property
    def labels(self) -> list[str]:
        """The labels, in the order of the logits."""
        labels = self._json(LABELS, [str])
        with self._reading(self.path / LABELS):
            return check_distinct(labels)

    @cached_property
    def thresholds(self) -> dict[str, Any]:
        """The thresholds that turn logits into predictions."""
        name = next((each for each in (THRESHOLDS, DECISION) if (self.path / each).is_file()), THRESHOLDS)
        thresholds, expected = self._json(name), default_thresholds(self.recipe.task, self.labels)
        with self._reading(self.path / name):
            return _check_thresholds(thresholds, expected)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """The temperature that the model's head contains; empty if the model is not calibrated."""
        return self._json(CALIBRATION, default={})

    @property
    def warnings(self) -> list[str]:
        """The distinct warnings of the run; empty for runs of versions that recorded none."""
        return self._json(WARNINGS, [str], default=[])

    def add_warnings(self, warnings: Sequence[str]) -> None:
        """Add distinct warnings to the run."""
        write_json(self.path / WARNINGS, list(dict.fromkeys([*self.warnings, *warnings])))

    @property
    def splits(self) -> dict[str, Any]:
        """File, rows and further facts of each split."""
        return self._json(SPLITS, dict.fromkeys(("train", "validation"), {"file": str, "rows": int}))

    @property
    def dropped_labels(self) -> dict[str, int]:
        """The labels that `min_label_rows` dropped, with their counts of training rows."""
        return self.splits["train"].get(DROPPED, {})

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores by split: "train", "validation", and "test" if there are test rows."""
        return self._json(METRICS, {"train": dict, "validation": dict})

    @property
    def predictions(self) -> list[dict[str, str]]:
        """The cells of predictions.csv by column: texts, label and prediction of each test row.

        Without test rows, they are those of the validation rows.
        """
        path = self._existing(PREDICTIONS)
        # The limit is global to the process; it is only raised.
        csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
        with path.open(encoding="utf-8", newline="") as file, self._reading(path):
            return [*csv.DictReader(file)]

    @property
    def sample(self) -> list[list[str]]:
        """The texts of some validation rows, one list of segments each."""
        path = self._existing(SAMPLE)
        with path.open(encoding="utf-8") as file, self._reading(path):
            return [parse_json(line, [str]) for line in file]

    @property
    def kept_rows(self) -> KeptRows | None:
        """Rows of each split with their labels; None for runs of versions that kept none."""
        path = self.path / KEPT_ROWS
        return KeptRows.read(path, self.recipe.task.columns(self.settings)) if path.is_file() else None

    @property
    def has_copied_rows(self) -> bool:
        """Whether the folder has a copy of the rows."""
        return all(COPY in entry for entry in self.splits.values())

    @property
    def restore_advice(self) -> str:
        """What to do if the rows of the run are not found."""
        in_memory = any(is_in_memory(entry["file"]) for entry in self.splits.values())
        return "pass the same rows again in Python" if in_memory else "restore them"

    def located_settings(self, objects: Mapping[str, MemoryRows] | None = None) -> TrainingSettings:
        """Return the settings with the current paths of the data files.

        Each file is looked up by its path, from the working directory, then relative to the run folder. Settings of
        `objects`, which are the rows that were in memory, are unchanged.

        Raises:
            InputError: A file is missing or has changed, or rows that were in memory are missing.
        """
        from tfhub_ft.data.datasets import SPLITS as SPLIT_NAMES
        from tfhub_ft.data.prepared import prepared_fault

        settings, splits = self.settings, self.splits
        if settings.prepared:
            recorded = {name: split.get("prepared", {}) for name, split in splits.items()}
            relative = recorded["train"].get("relative")
            return settings.replaced(
                {"prepared": self._locate(settings.prepared, relative, partial(prepared_fault, recorded=recorded))}
            )
        names = [name for name in SPLIT_NAMES if getattr(settings, name)] or ["data"]
        files = {}
        for name in names:
            recorded = splits["train" if name == "data" else name]
            file = getattr(settings, name) or self.recipe.demo
            if is_in_memory(recorded["file"]):
                if name not in (objects or {}):
                    passed = ", ".join(objects or ()) if self.has_copied_rows else ""
                    reason = f"only {passed} was passed" if passed else "--copy-data was not set"
                    fault = f"{name} was a {recorded['file']}, and {reason}"
                    raise InputError(f"{self.path}: its training rows are not found: {fault}")
                continue
            files[name] = self._locate(file, recorded.get("relative"), partial(content_fault, recorded=recorded))
        return settings.replaced(files)

    def load_rows(self, objects: Mapping[str, MemoryRows] | None = None) -> "Dataset":
        """Return the rows of the run in their splits: from `objects`, the copy in the run, or the located files.

        Raises:
            InputError: A file is missing or has changed, or `objects` lacks rows that were in memory or has others.
        """
        from tfhub_ft.data.datasets import load_copied_rows, load_dataset

        task = self.recipe.task
        if self.has_copied_rows and not objects:
            return load_copied_rows(task, self.settings, self.labels, self.splits, self.path)
        settings = self.located_settings(objects)
        data = load_dataset(task, settings, self.recipe.demo, labels=self.labels, splits=self.splits, objects=objects)
        if not data.matches(self.splits):
            raise InputError(f"{self.path}: its training rows are not found: {data.sources} has changed; restore it")
        return data

    def _locate(self, file: str | Path, relative: str | None, fault: Callable[[Path], str | None]) -> str:
        path, faults = find_rows(as_path(file), relative, self.path, fault)
        if path is None:
            raise InputError(f"{self.path}: its training rows are not found: {' and '.join(faults)}")
        return str(path)

    @property
    def tracked(self) -> dict[str, str]:
        """The id of the run in a tracker, by tracker; empty for a run without --track."""
        return self._json(TRACKED, {str: str}, default={})

    @property
    def keras_arguments(self) -> dict[str, Any]:
        """The classes of the Keras objects that the run was trained with, by argument of `train`; mostly empty."""
        return self._json(KERAS, default={})

    @property
    def repeats(self) -> dict[str, Any]:
        """The scores of all seeds or folds that the run was kept from; empty for other runs.

        The entries are "kind" ("seeds" or "folds"), "metric" and "split" (the score that chose the run), "runs" (the
        name and the scores of each), "kept" (the index of this run) and "summary" (by score: "mean", "deviation" and
        "interval", the 95% confidence interval of the mean).
        """
        return self._json(REPEATS, default={})

    @property
    def finished(self) -> bool:
        """Whether the training is complete."""
        return (self.path / METRICS).is_file()

    @property
    def training_state(self) -> dict[str, Any]:
        """The state of an unfinished training at its last checkpoint; empty before the first one."""
        return self._json(f"{CHECKPOINTS}/{STATE}", STATE_SHAPE, default={})

    def with_settings(self, settings: TrainingSettings) -> "Run":
        """Replace the settings in recipe.yaml and return the run."""
        origin = {name: self._yaml[name] for name in ORIGIN if name != "tfhub_ft" and name in self._yaml}
        self._write_settings(self.path, origin, settings)
        return Run(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and remove files of killed processes; raise an InputError if it is in use."""
        with locked(self.path, f"{self.path}: in use, another process trains in it; try again later"):
            for folder in (self.path, self.path / CHECKPOINTS):
                remove_stale_scratch(folder)
            yield

    def load_model(self) -> "keras.Model":
        """Load the trained text-in model.

        Raises:
            InputError: The training is not finished, or the file is damaged or not readable.
            UntrustedCode: Its graph may do more than compute, and --trust is not given.
            RunError: There is not enough space for temporary files.
        """
        import keras

        path = self._existing(MODEL)
        check_archive(path)
        try:
            path.open("rb").close()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; change its permissions") from None
        try:
            model = keras.models.load_model(path, compile=False)
        except Exception as error:
            if fault := write_fault(error, f"a temporary copy of {path} in {tempfile.gettempdir()}"):
                raise fault from error
            with self._naming_version():
                raise InputError(
                    f"{path}: cannot be read ({first_line(error)}); restore the file or train again"
                ) from error
        assert isinstance(model, keras.Model)
        expected, logits = num_classes(self.recipe.task, self.labels), model.outputs[0].shape[-1]
        if expected not in (None, logits):
            raise InputError(
                f"{self.path / LABELS}: has {len(self.labels)} labels, which do not match the {logits} logits of the"
                " model; restore the file or train again"
            )
        return model

    @cached_property
    def _yaml(self) -> dict[str, Any]:
        return read_yaml(self.path / RECIPE, {"recipe": str})

    def _json(self, name: str, shape: object = dict, default: object = None) -> Any:
        """Return the content of a JSON file; `default`, unless that is None, if the file is missing."""
        if default is not None and not (self.path / name).is_file():
            return default
        path = self._existing(name)
        with self._reading(path):
            return read_json(path, shape)

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Turn errors within this context into one that says what to do about an unreadable file."""
        try:
            yield
        except (InputError, ValueError) as error:
            fault = str(error) if isinstance(error, InputError) else f"{path}: cannot be read ({first_line(error)})"
            with self._naming_version():
                raise InputError(f"{fault}; restore the file or train again") from error

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file() and not self.finished and self._is_resumable:
            raise InputError(f"{self.path}: {name} not found, its training did not finish; continue with --resume")
        if not path.is_file():
            with self._naming_version():
                raise InputError(f"{self.path}: {name} not found; restore the file or train again")
        return path

    @property
    def _is_resumable(self) -> bool:
        """Whether the last checkpoint exists, which a finished training removes."""
        last = self.training_state.get("last")
        return last is None or (self.path / CHECKPOINTS / last).is_file()

    @contextlib.contextmanager
    def _naming_version(self) -> Iterator[None]:
        """Add the version that wrote the run to errors within this context, if it is another one."""
        from tfhub_ft.utils.version import __version__

        try:
            yield
        except InputError as error:
            version = self._yaml.get("tfhub_ft")
            if version == __version__:
                raise
            raise InputError(
                f"{error}; {self.path} was written by tfhub_ft {version}, this is {__version__}"
            ) from error


def _check_thresholds(thresholds: dict[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of thresholds.json, which must have the names and sizes of the expected thresholds."""
    check_shape(thresholds, dict.fromkeys(expected, object))
    single = {name: thresholds[name] for name in ("threshold", "no_answer_threshold") if name in thresholds}
    for name, threshold in single.items():
        check_shape(threshold, float, repr(name))
    numbers = thresholds.get("thresholds", [])
    check_shape(numbers, [float], "'thresholds'")
    if len(numbers) != len(expected.get("thresholds", numbers)):
        raise ValueError(f"'thresholds' has {len(numbers)} numbers for {len(expected['thresholds'])} labels")
    if any(number != number for number in (*single.values(), *numbers)):
        raise ValueError("a threshold is NaN")
    return thresholds
