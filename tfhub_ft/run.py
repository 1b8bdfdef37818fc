"""The run folder: what a training leaves behind, written and read in this one place.

recipe.yaml    every setting, resolved
recipe.py      of a recipe file: a copy, by which the run is opened wherever it is
labels.json    the labels, in the order of the logits
thresholds.json  the thresholds that turn logits into predictions, fitted on the validation rows
calibration.json  the temperature that the model's logits were divided by, fitted on the validation rows
splits.json    which rows of which file were train, validation and test
sample.jsonl   some validation rows, which exports are proven on
kept_rows.jsonl  rows with their labels, for what needs some after the run's files have gone
warnings.json  the warnings that were given
history.csv    a row for each epoch
metrics.json   {"train": {...}, "validation": {...}, "test": {...}}
report.html    the same and more, with pictures, for people
model.keras    the text-in model of the best epoch; reloads without cache and network
adapter.safetensors  of a run with LoRA: the low-rank updates alone, which model.keras has in its weights
distillation.yaml  of a distilled run: its teacher, and how it was taught
checkpoints/   until the training has ended, the weights of the last and of the best epoch, to resume from
logs/          for TensorBoard
tracking.json  of a run with --track: which one it is in the tracker's store
"""

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.labels import DROPPED
from tfhub_ft.data.locations import content_fault, find_rows
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
    write_fault,
    write_json,
    write_text,
)
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
STATE_SHAPE = {"epochs": [dict], "best_epoch": (int, type(None)), "last": (str, type(None)), "stopped": bool}
# The entries of recipe.yaml that are no settings.
ORIGIN = ("recipe", "recipe_sha256", "tfhub_ft")
DISTILLATION, ADAPTER = "distillation.yaml", "adapter.safetensors"
TRACKED, WARNINGS, KEPT_ROWS = "tracking.json", "warnings.json", "kept_rows.jsonl"


def run_files(folder: Path) -> list[Path]:
    """Return the files of a folder that only a training may write; none where it is not a run folder."""
    names = (
        RECIPE,
        RECIPE_FILE,
        LABELS,
        SPLITS,
        SAMPLE,
        KEPT_ROWS,
        THRESHOLDS,
        DECISION,
        CALIBRATION,
        REPORT,
        HISTORY,
        METRICS,
        MODEL,
        DISTILLATION,
        ADAPTER,
    )
    return [folder / name for name in (*names, TRACKED)] if (folder / RECIPE).is_file() else []


class Run:
    """A training's folder.

    Args:
        path: the folder.

    Raises:
        InputError: it is not a run folder.

    Example:
        run = Run("runs/reviews")
        run.metrics["test"]["accuracy"]
    """

    def __init__(self, path: str | Path):
        self.path = check_path("run", path, "a run, or the path of its folder (str or Path)")
        if not (self.path / RECIPE).is_file():
            found = f"not a run folder ({RECIPE} not found)" if self.path.exists() else "not found"
            raise InputError(f"{self.path}: {found}; pass a folder written by tfhub-ft train")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
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
    ) -> "Run":
        """Make the folder of a training that is about to start; recipe.yaml, written last, makes it a run."""
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / LABELS, labels)
        write_json(path / SPLITS, splits)
        described = {"recipe": recipe_name}
        if source is not None:
            with atomic_write(path / RECIPE_FILE) as aside:
                aside.write_bytes(source)
            described = {
                "recipe": str(Path(recipe_name).resolve()),
                "recipe_sha256": hashlib.sha256(source).hexdigest(),
            }
        cls._write_settings(path, described, settings)
        return cls(path)

    @staticmethod
    def is_beginning(path: Path) -> bool:
        """Return whether a folder holds what `create` had written when its process was killed, and nothing else."""
        shapes = {LABELS: [str], SPLITS: dict}
        names = [name for name in contents(path) if name != RECIPE_FILE]
        try:
            return bool(names) and all(name in shapes and read_json(path / name, shapes[name]) for name in names)
        except InputError:
            return False

    @staticmethod
    def _write_settings(path: Path, described: dict[str, str], settings: TrainingSettings) -> None:
        import yaml

        from tfhub_ft.utils.version import __version__

        content = {**described, "tfhub_ft": __version__, **settings.as_dict()}
        write_text(path / RECIPE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    @property
    def recipe_name(self) -> str:
        """The recipe's name, or the path of its file."""
        name = self._yaml["recipe"]
        return name if name.endswith(".py") else recipe_name(name)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that it was trained by.

        Raises:
            InputError: it is a file that this user has not trained with, and --trust is not given.
        """
        origin, sha256 = Path(self.recipe_name), self._yaml.get("recipe_sha256")
        with self._told_of_version():
            if not self.recipe_name.endswith(".py"):
                try:
                    return load_recipe(self.recipe_name)
                except InputError as error:
                    raise InputError(f"{self.path / RECIPE}: {error}") from None
            # Runs of earlier versions have no copy.
            return load_known_recipe(self.path / RECIPE_FILE if sha256 else origin, origin, sha256)

    @cached_property
    def settings(self) -> TrainingSettings:
        """The settings that it was trained with."""
        values = {k: v for k, v in self._yaml.items() if k not in ORIGIN}
        with self._told_of_version():
            return self.recipe.settings.replaced(values, source=str(self.path / RECIPE))

    @cached_property
    def labels(self) -> list[str]:
        """The labels, in the order of the logits."""
        labels = self._json(LABELS, [str])
        with self._unreadable(self.path / LABELS):
            return check_distinct(labels)

    @cached_property
    def thresholds(self) -> dict[str, Any]:
        """The thresholds that turn logits into predictions."""
        name = next((each for each in (THRESHOLDS, DECISION) if (self.path / each).is_file()), THRESHOLDS)
        thresholds, needed = self._json(name), default_thresholds(self.recipe.task, self.labels)
        with self._unreadable(self.path / name):
            return _check_thresholds(thresholds, needed)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """The temperature that is in the model's head; empty where probabilities are not calibrated."""
        return self._json(CALIBRATION) if (self.path / CALIBRATION).is_file() else {}

    @property
    def warnings(self) -> list[str]:
        """The warnings of the training run, each once; empty where a version wrote the run that kept none."""
        return self._json(WARNINGS, [str]) if (self.path / WARNINGS).is_file() else []

    def add_warnings(self, warnings: Sequence[str]) -> None:
        """Keep warnings with the run, each once."""
        write_json(self.path / WARNINGS, list(dict.fromkeys([*self.warnings, *warnings])))

    @property
    def splits(self) -> dict[str, Any]:
        """Which rows of which file each split has."""
        return self._json(SPLITS, dict.fromkeys(("train", "validation"), {"file": str, "rows": int}))

    @property
    def dropped_labels(self) -> dict[str, int]:
        """The labels that `min_label_rows` dropped, with their training rows."""
        return self.splits["train"].get(DROPPED, {})

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores, by split."""
        return self._json(METRICS, {"train": dict, "validation": dict})

    @property
    def sample(self) -> list[list[str]]:
        """Inputs of some validation rows, a list of segments each."""
        path = self._existing(SAMPLE)
        with path.open(encoding="utf-8") as file, self._unreadable(path):
            return [parse_json(line, [str]) for line in file]

    @property
    def kept_rows(self) -> KeptRows | None:
        """Rows of each split with their labels; None where a version wrote the run that kept none."""
        path = self.path / KEPT_ROWS
        return KeptRows.read(path, self.recipe.task.columns(self.settings)) if path.is_file() else None

    def located_settings(self) -> TrainingSettings:
        """The settings with the names under which the rows are found now.

        Each file is looked for under the name that was given, from the current folder, then relative to the run folder.

        Raises:
            InputError: a file is missing or has changed.
        """
        from tfhub_ft.data.datasets import SPLITS as SPLIT_NAMES
        from tfhub_ft.data.prepared import prepared_fault

        settings, splits = self.settings, self.splits
        if settings.prepared:
            recorded = {name: split.get("prepared", {}) for name, split in splits.items()}
            relative = recorded["train"].get("relative")
            return settings.replaced(
                {"prepared": self._found(settings.prepared, relative, partial(prepared_fault, recorded=recorded))}
            )
        names = [name for name in SPLIT_NAMES if getattr(settings, name)] or ["data"]
        found = {}
        for name in names:
            recorded = splits["train" if name == "data" else name]
            given = getattr(settings, name) or self.recipe.demo
            found[name] = self._found(given, recorded.get("relative"), partial(content_fault, recorded=recorded))
        return settings.replaced(found)

    def load_rows(self, settings: TrainingSettings | None = None) -> "Dataset":
        """Read the rows that the run was trained on, split as they were.

        Args:
            settings: what `located_settings` returned.

        Raises:
            InputError: a file is missing or has changed.
        """
        from tfhub_ft.data.datasets import load_dataset

        settings = settings or self.located_settings()
        data = load_dataset(self.recipe.task, settings, self.recipe.demo, labels=self.labels, splits=self.splits)
        if not data.is_of(self.splits):
            raise InputError(f"{self.path}: the rows that it was trained on are not found: {data.sources} has changed")
        return data

    def _found(self, given: str | Path, relative: str | None, fault: Callable[[Path], str | None]) -> str:
        path, faults = find_rows(Path(given), relative, self.path, fault)
        if path is None:
            raise InputError(f"{self.path}: the rows that it was trained on are not found: {' and '.join(faults)}")
        return str(path)

    @property
    def tracked(self) -> dict[str, str]:
        """The run's name in a tracker's store, by tracker; empty where none was told of it."""
        return self._json(TRACKED, {str: str}) if (self.path / TRACKED).is_file() else {}

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / METRICS).is_file()

    @property
    def training_state(self) -> dict[str, Any]:
        """What the checkpoints of a training know that has not ended; empty before the first one."""
        path = Path(CHECKPOINTS) / STATE
        return self._json(str(path), STATE_SHAPE) if (self.path / path).is_file() else {}

    def with_settings(self, settings: TrainingSettings) -> "Run":
        """The run with other settings, which its recipe.yaml then has."""
        described = {name: self._yaml[name] for name in ("recipe", "recipe_sha256") if name in self._yaml}
        self._write_settings(self.path, described, settings)
        return Run(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Within this context no other process trains in the folder; what killed ones left there is removed.

        Raises:
            InputError: one does.
        """
        with locked(self.path, f"{self.path} is in use: another process trains in it"):
            for folder in (self.path, self.path / CHECKPOINTS):
                remove_stale_scratch(folder)
            yield

    def load_model(self) -> "keras.Model":
        """The trained text-in model.

        Raises:
            InputError: the training did not come to its end, or the file is damaged or may not be read.
            UntrustedCode: a graph in it may do more than compute, and --trust is not given.
            RunError: there is no room for the temporary copies that loading makes.
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
            with self._told_of_version():
                raise InputError(
                    f"{path} cannot be read ({first_line(error)}); train again or restore the file"
                ) from error
        wanted, outputs = num_classes(self.recipe.task, self.labels), model.outputs[0].shape[-1]
        if wanted not in (None, outputs):
            raise InputError(
                f"{self.path / LABELS}: has {len(self.labels)} labels, which do not fit the {outputs} logits of the"
                " model; train again or restore the file"
            )
        return model

    @cached_property
    def _yaml(self) -> dict[str, Any]:
        return read_yaml(self.path / RECIPE, {"recipe": str})

    def _json(self, name: str, shape: Any = dict) -> Any:
        path = self._existing(name)
        with self._unreadable(path):
            return read_json(path, shape)

    @contextlib.contextmanager
    def _unreadable(self, path: Path) -> Iterator[None]:
        """An error within this context says what to do about a file that cannot be read."""
        try:
            yield
        except (InputError, ValueError) as error:
            said = str(error) if isinstance(error, InputError) else f"{path} cannot be read ({first_line(error)})"
            with self._told_of_version():
                raise InputError(f"{said}; train again or restore the file") from error

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file() and not self.finished and self._is_resumable:
            raise InputError(f"{self.path}: {name} not found, its training did not finish; continue with --resume")
        if not path.is_file():
            with self._told_of_version():
                raise InputError(f"{self.path}: {name} not found; restore the file, or train again")
        return path

    @property
    def _is_resumable(self) -> bool:
        """Whether the checkpoint of a training that did not finish is there; a finished one has removed it."""
        last = self.training_state.get("last")
        return last is None or (self.path / CHECKPOINTS / last).is_file()

    @contextlib.contextmanager
    def _told_of_version(self) -> Iterator[None]:
        """An error within this context says which version made the run, where it was another one."""
        from tfhub_ft.utils.version import __version__

        try:
            yield
        except InputError as error:
            made = self._yaml.get("tfhub_ft")
            if made == __version__:
                raise
            raise InputError(f"{error}; {self.path} was made by tfhub_ft {made}, this is {__version__}") from error


def _check_thresholds(found: dict[str, Any], needed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of thresholds.json.

    Args:
        found: the content.
        needed: thresholds of the same task, whose names and sizes it must have.

    Raises:
        ValueError: a threshold is missing or is not a number, or there are too many or too few.
    """
    check_shape(found, dict.fromkeys(needed, object))
    for name in ("threshold", "no_answer_threshold"):
        if name in found:
            check_shape(found[name], float, repr(name))
    if "thresholds" in found:
        thresholds = found["thresholds"]
        check_shape(thresholds, [float], "'thresholds'")
        if len(thresholds) != len(needed.get("thresholds", thresholds)):
            raise ValueError(f"'thresholds' has {len(thresholds)} numbers for {len(needed['thresholds'])} labels")
    values = [found.get("threshold"), found.get("no_answer_threshold"), *found.get("thresholds", [])]
    if any(isinstance(each, float) and math.isnan(each) for each in values):
        raise ValueError("a threshold is not a number (NaN)")
    return found
