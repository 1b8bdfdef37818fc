"""Train a smaller model on the predictions of a larger one."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.datasets import SPLITS, Dataset, load_dataset
from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.memory_rows import MemoryRows, is_in_memory, take_memory_rows
from tfhub_ft.data.rows import ReadOptions, read_all
from tfhub_ft.data.sequences import Mapped, select, spool
from tfhub_ft.distillation.losses import SOFT_LOSSES
from tfhub_ft.distillation.pruning import architecture_of, copy_head, cut_encoder, evenly_spread
from tfhub_ft.distillation.vocabulary import domain_vocabulary
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.encoders.resolve import resolve
from tfhub_ft.run import DISTILLATION, MODEL, Run
from tfhub_ft.settings import DATA, OLD_UNLABELED, WINDOW_SETTINGS, Distillation, Settings
from tfhub_ft.training.distribution import is_chief, start_strategy
from tfhub_ft.training.pretrained import build_model, initialize
from tfhub_ft.training.results import fit_and_score
from tfhub_ft.training.start import new_folder, open_run
from tfhub_ft.training.tokens import long_text_advice, tokenize_splits
from tfhub_ft.training.tracking import make_tracker
from tfhub_ft.training.trainer import Trainer
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.console import log, recorded_warnings
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write, rollback_on_error, sha256_of, write_text
from tfhub_ft.utils.keras_compat import inbound_nodes
from tfhub_ft.utils.memory import release_gradients

if TYPE_CHECKING:
    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.distillation.student_model import DistillationLoss, StudentLearner
    from tfhub_ft.encoders import HubEncoder, HubPreprocessor

# All layers of a student train, whatever was frozen in the teacher.
STUDENT_DEFAULTS = {
    "from_run": None, "freeze": "none", "unfreeze": None, "reinit_layers": None, "lora_rank": None,
    "learning_rate": 1e-4,
}  # fmt: skip
PAIR = "encoder_pair"


def distill(run: str | Path | Run, *, student: str | Path, output_dir: str | Path, **settings: Any) -> Run:
    """Train a smaller model on the predictions of a run. What `tfhub-ft distill` does.

    The student learns from the logits of the teacher, which are computed once and cached, and from the labels of the
    teacher's training rows. From rows without labels it learns only the logits. The encoder of a student `layers:N`
    starts from N layers of the teacher (see `evenly_spread`), and its head from the teacher's head. Any other student
    gets a new head.

    Args:
        run: The teacher: a finished run, or the path of its folder. Its task is classification, intent, multilabel or
            regression.
        student: "layers:N", or an encoder: a catalog name, a handle, a URL or a folder.
        output_dir: The run folder of the student, which must be new or empty.
        **settings: Any field of `tfhub_ft.settings.Distillation` (`unlabeled`, `temperature`, `alpha`,
            `hidden_weight`, `vocabulary`) or of the recipe's settings. By default they are the teacher's, except
            `freeze` ("none"), `unfreeze`, `reinit_layers` and `lora_rank` (None) and `learning_rate` (1e-4). Rows may
            be in memory, as for `train`; `unlabeled` also takes a list of texts.

    Returns:
        The run of the student, with `distillation.yaml` in its folder.

    Raises:
        InputError: If the run is not finished or cannot be distilled, or if a setting, a file or a row is invalid.
        RunError: If the training fails.

    Example:
        small = tfhub_ft.distill("runs/reviews", student="layers:3", output_dir="runs/small", unlabeled="more.txt")
        small.metrics["test"]["accuracy"]

    Reference:
        Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531; Sanh et al. 2019, https://arxiv.org/abs/1910.01108
    """
    run = run if isinstance(run, Run) else Run(run)
    student = str(check_path("student", student, "layers:N or an encoder (str or Path)"))
    output_dir = check_path("output_dir", output_dir)
    if OLD_UNLABELED in settings:
        settings["unlabeled"] = settings.pop(OLD_UNLABELED)
    settings, objects = take_memory_rows(settings, (*DATA, "unlabeled"))
    config = Distillation(**{name: settings.pop(name) for name in Distillation.names() if name in settings})
    count = _layer_count(student)
    student_settings = _student_settings(run, student, count, config, settings)
    folder = new_folder(output_dir)
    with recorded_warnings() as warnings:
        has_rows = any(settings.get(name) for name in DATA)
        dataset, student_settings = _load_dataset(run, student_settings, objects, has_rows=has_rows)
    texts = _training_texts(run, dataset, config, student_settings, objects.get("unlabeled"))
    if count is None:
        try:
            resolve(student, student_settings.preprocessor)
        except InputError as error:
            raise InputError(str(error).replace("--encoder ", "--student ", 1)) from None

    teacher = _Teacher(run)
    layers = teacher.layers_for(count) if count else None
    if config.hidden_weight:
        teacher.check_hidden_states()
    with rollback_on_error(folder):
        student_settings = _cut_student(teacher, student_settings, layers, config, texts, folder)
        logits = teacher.logits(texts)
        tracker = make_tracker(student_settings.track if is_chief(student_settings.strategy) else None)
        recipe, task = run.recipe, run.recipe.task
        with recorded_warnings() as later_warnings:
            strategy = start_strategy(student_settings)
            built = build_model(recipe, student_settings, dataset.labels, strategy)
            advice = long_text_advice(student_settings)
            tokens = tokenize_splits(task, dataset, built.preprocessor, train_inputs=texts, advice=advice)
            labeled = tokens["train"].subset(np.arange(len(dataset.targets["train"])))
            initialize(task, built, labeled, dataset.targets["train"], student_settings)
        if layers:
            copy_head(teacher.network, built.network)
        loss = _distillation_loss(config, teacher, built.preprocessor, layers)
        trainer = StudentTrainer(
            recipe, student_settings, dataset, built, tokens, strategy, loss=loss, teacher_logits=logits
        )
        _write_description(folder, teacher, student, config, layers, trainer)
        # From here on, the folder is kept when the training fails.
        stack = contextlib.ExitStack()
        student_run = stack.enter_context(
            open_run(recipe, run.recipe_name, folder, student_settings, dataset, tracker, is_empty=False)
        )
    with stack, release_gradients():
        fit_and_score(student_run, trainer, tracker, [*warnings, *later_warnings])
        return student_run


def _layer_count(student: str) -> int | None:
    """Return N of "layers:N"; None for another encoder."""
    match = re.fullmatch(r"layers:(.*)", student)
    if match and not re.fullmatch(r"[1-9]\d{0,3}", match[1]):
        raise InputError(f"--student {student}: must be layers:N with N above 0, or an encoder")
    return int(match[1]) if match else None


def _student_settings(
    run: Run, student: str, count: int | None, config: Distillation, settings: Mapping[str, Any]
) -> Settings:
    """Return the settings of the student, after the checks that need no model."""
    task = run.recipe.task
    if task.name not in SOFT_LOSSES:
        raise InputError(
            f"{run.path}: recipe {run.recipe.name} has the task {task.name}, which cannot be distilled; expected one of"
            f" {', '.join(SOFT_LOSSES)}"
        )
    if not run.finished:
        raise InputError(f"{run.path}: its training did not finish; continue it with --resume before you distill it")
    if "encoder" in settings:
        raise InputError("--encoder: name the encoder of the student with --student")
    if settings.get("from_run"):
        raise InputError("--from: not available for distillation; a student layers:N starts from its teacher")
    if count and settings.get("preprocessor"):
        raise InputError(f"--preprocessor: a student {student} has the preprocessor of the teacher; leave it out")
    if config.hidden_weight and not count:
        raise InputError(f"--hidden-weight: the layers of {student} are not the teacher's; use --student layers:N")
    if settings.get("strategy") == "multi-worker":
        raise InputError("--strategy multi-worker: not available for distillation; mirrored uses all GPUs of a machine")
    changes: dict[str, Any] = dict.fromkeys(DATA) if any(settings.get(name) for name in DATA) else {}
    if run.settings.strategy == "multi-worker":
        changes["strategy"] = "one"
    changes |= {"preprocessor": None, **STUDENT_DEFAULTS, **settings}
    if not count:
        changes["encoder"] = student
    if settings.get("long_texts", "windows") != "windows":
        changes = WINDOW_SETTINGS | changes
    student_settings = run.settings.replaced(changes)
    assert isinstance(student_settings, Settings)
    run.recipe.check(student_settings)
    seq_length = student_settings.seq_length
    if config.hidden_weight and seq_length != run.settings.seq_length:
        raise InputError(f"--seq-length {seq_length}: --hidden-weight needs the teacher's, {run.settings.seq_length}")
    return student_settings


def _load_dataset(
    run: Run, settings: Settings, objects: Mapping[str, MemoryRows], *, has_rows: bool
) -> tuple[Dataset, Settings]:
    """Return the rows of the student, by default the teacher's with its splits, and settings with their files."""
    recipe = run.recipe
    if has_rows:
        return load_dataset(recipe.task, settings, recipe.demo, labels=run.labels, objects=objects), settings
    try:
        dataset = run.load_rows()
        located = run.settings if run.has_copied_rows else run.located_settings()
    except InputError as error:
        raise InputError(f"{error}; {run.restore_advice}, or name files with --train or --data") from None
    column, read = (getattr(each, "weight_column", None) for each in (settings, run.settings))
    if column not in (None, read):
        raise InputError(f"--weight-column {column}: needs rows with that column; name files with --train or --data")
    if column is None:
        dataset = dataclasses.replace(dataset, weights=None)
    return dataset, settings.replaced({name: getattr(located, name) for name in DATA if getattr(run.settings, name)})


def _training_texts(
    run: Run, dataset: Dataset, config: Distillation, settings: Settings, unlabeled: MemoryRows | None
) -> Sequence[tuple[str, ...]]:
    """Return the segments of each training row: the rows with labels, then those without."""
    task = run.recipe.task
    labeled = Mapped(task.training_inputs, dataset.splits["train"].rows)
    if not config.unlabeled:
        return labeled
    # The columns that settings name are not those of txt files.
    is_text = ".txt" in Path(config.unlabeled).suffixes or Path(config.unlabeled).is_dir()
    columns = task.columns(None if is_text else settings, labeled=False)
    options = ReadOptions.of_other_file(settings)
    if not unlabeled and is_in_memory(config.unlabeled):
        raise InputError(f"--unlabeled {config.unlabeled}: not a file; pass the rows in Python, as unlabeled=")
    rows = read_all(unlabeled or config.unlabeled, columns, options=options, skip_bad_rows=settings.skip_bad_rows)
    held_out_rows = itertools.chain(*(dataset.splits[name].rows for name in SPLITS[1:] if name in dataset.splits))
    held_out = fingerprints(_folded(task.training_inputs(row)) for row in held_out_rows)
    known = np.concatenate([held_out, fingerprints(map(_folded, labeled))])
    prints = fingerprints(_folded(task.prediction_inputs(row)) for row in rows)
    # Of repeated rows the last one counts, at the place of the first.
    _, firsts = np.unique(prints, return_index=True)
    distinct, lasts = np.unique(prints[::-1], return_index=True)
    is_new = ~np.isin(distinct, known)
    order = np.argsort(firsts[is_new])
    new = Mapped(task.prediction_inputs, select(rows, (len(rows) - 1 - lasts[is_new][order]).tolist()))
    if len(new) < len(rows):
        leaking = int(np.isin(prints, held_out).sum())
        log(
            f"{config.unlabeled}: skipped {leaking:,} of {len(rows):,} rows, which are validation or test rows, and"
            f" {len(rows) - len(new) - leaking:,}, which are training rows or repeat another row"
        )
    if not new:
        raise InputError(f"{config.unlabeled}: every row is among the labeled rows; leave --unlabeled out")
    return spool(itertools.chain(labeled, new))


def _folded(segments: tuple[str, ...]) -> str:
    return "\0".join(map(fold_text, segments))


class _Teacher:
    """A run and its model, which score the training rows of a student."""

    def __init__(self, run: Run):
        log(f"Loading the teacher {run.path}")
        self.run, self.model = run, run.load_model()
        self.network = self.model.get_layer("token_model")
        self.encoder: HubEncoder = encoder_of(self.network)
        self.preprocessor: HubPreprocessor = self.model.get_layer("preprocessor")

    def layers_for(self, count: int) -> list[int]:
        """Return the layers that a student of `count` layers starts from."""
        layers = architecture_of(self.encoder).layers
        if count >= layers:
            raise InputError(f"--student layers:{count}: must be below the number of the teacher's layers, {layers}")
        return evenly_spread(count, layers)

    def check_hidden_states(self) -> None:
        """Raise an InputError where the student's hidden states cannot be compared with the teacher's."""
        if "encoder_outputs" not in self.encoder.spec["outputs"]:
            raise InputError(f"--hidden-weight: encoder {self.encoder.encoder} does not output hidden states")
        if self.encoder not in self.network.layers or len(inbound_nodes(self.encoder)) > 1:
            raise InputError("--hidden-weight: the encoder of this recipe reads each text of a row alone; leave it out")

    def logits(self, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        """Return the logits of rows, float32 (rows, logits), from the cache where they are there."""
        digest = hashlib.sha256(sha256_of(self.run.path / MODEL).encode())
        for segments in texts:
            digest.update(json.dumps(segments).encode())
        path = cache_dir() / "teacher_logits" / f"{digest.hexdigest()}.npy"
        # A damaged file is replaced. Without a writable cache, the logits are computed each time.
        with contextlib.suppress(OSError, ValueError, EOFError):
            logits = np.load(path)
            log(f"Using the cached logits of the teacher for {len(texts):,} rows")
            return logits
        log(f"Computing the logits of the teacher for {len(texts):,} rows")
        task = self.run.recipe.task
        logits = task.make_score_fn(self.model)(task.encode(self.preprocessor, texts))
        with contextlib.suppress(OSError, RunError), atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, logits)
        return logits


def _cut_student(
    teacher: _Teacher,
    settings: Settings,
    layers: list[int] | None,
    config: Distillation,
    texts: Sequence[tuple[str, ...]],
    folder: Path,
) -> Settings:
    """Write the pruned encoder that the student starts from, if any, and return settings that name it."""
    if layers is None and config.vocabulary == "all":
        return settings
    from tfhub_ft.encoders import HubEncoder, HubPreprocessor

    encoder, preprocessor = teacher.encoder, teacher.preprocessor
    if layers is None:
        encoder = HubEncoder(settings.encoder)
        preprocessor = HubPreprocessor(
            settings.encoder,
            preprocessor=settings.preprocessor,
            seq_length=settings.seq_length,
            lowercase=getattr(settings, "lowercase", False),
        )
    vocabulary = domain_vocabulary(texts, preprocessor) if config.vocabulary == "domain" else None
    # A student for a domain keeps only the position embeddings of its sequence length.
    seq_length = settings.seq_length if vocabulary else None
    cut_encoder(encoder, preprocessor, folder / PAIR, layers=layers, vocabulary=vocabulary, seq_length=seq_length)
    return settings.replaced({"encoder": str(folder / PAIR), "preprocessor": None})


class StudentTrainer(Trainer):
    """Train a student on rows that a teacher has scored; rows without labels come last in the split "train"."""

    def __init__(self, *arguments: Any, loss: "DistillationLoss", teacher_logits: np.ndarray):
        super().__init__(*arguments)
        self.loss, self.teacher_logits = loss, teacher_logits

    @cached_property
    def frozen(self) -> None:
        """None: the encoder of a student always trains."""

    def training_rows(self) -> "tuple[TokenRows, dict[str, np.ndarray]]":
        """Return the tokens of the training rows, and the targets that a `StudentLearner` takes."""
        targets = self.recipe.task.token_targets(self.tokens["train"], self.dataset.targets["train"])
        rows = len(self.teacher_logits)
        missing = np.zeros((rows - len(targets), *targets.shape[1:]), targets.dtype)
        return self.tokens["train"], {
            "task": np.concatenate([targets, missing]),
            "teacher": self.teacher_logits,
            "is_labeled": (np.arange(rows) < len(targets)).astype("float32"),
        }

    def training_weights(self) -> np.ndarray | None:
        """Return the weights of the training rows; rows without labels have the weight 1."""
        weights = self.dataset.weights
        if weights is None:
            return None
        return np.concatenate([weights, np.ones(len(self.teacher_logits) - len(weights), "float32")])

    def step_model(self) -> "StudentLearner":
        """Return the network with the loss of a student."""
        import keras

        from tfhub_ft.distillation.student_model import StudentLearner
        from tfhub_ft.models.window_pooling import windows_of

        tokens: dict[str, keras.KerasTensor] = dict(self.network.input)
        outputs = {"logits": self.network.outputs[0]}
        if self.loss.hidden_loss:
            encoder = encoder_of(self.network)
            # Keras keeps the outputs of a layer as a flat list.
            structure = encoder.compute_output_spec(windows_of(tokens))
            outputs["hidden"] = keras.tree.pack_sequence_as(structure, encoder.output)["encoder_outputs"]
        return StudentLearner(tokens, outputs, self.loss)


def _distillation_loss(
    config: Distillation, teacher: _Teacher, preprocessor: "HubPreprocessor", layers: list[int] | None
) -> "DistillationLoss":
    from tfhub_ft.distillation.student_model import DistillationLoss, hidden_difference

    hidden_loss = None
    if config.hidden_weight and layers:
        ids = {token: number for number, token in enumerate(teacher.preprocessor.vocabulary)}
        hidden_loss = hidden_difference(
            lambda tokens: teacher.encoder(tokens, training=False)["encoder_outputs"],
            layers,
            [ids[token] for token in preprocessor.vocabulary],
        )
    soft_loss = SOFT_LOSSES[teacher.run.recipe.task.name]
    return DistillationLoss(soft_loss, config.temperature, config.alpha, config.hidden_weight, hidden_loss)


def _write_description(
    folder: Path,
    teacher: _Teacher,
    student: str,
    config: Distillation,
    layers: list[int] | None,
    trainer: StudentTrainer,
) -> None:
    import yaml

    labeled = len(trainer.dataset.splits["train"].rows)
    description = {
        "teacher": str(teacher.run.path.resolve()),
        "teacher_sha256": sha256_of(teacher.run.path / MODEL),
        "student": student,
        "teacher_layers": layers,
        **{name: getattr(config, name) for name in config.names()},
        "rows": {"labeled": labeled, "unlabeled": len(trainer.teacher_logits) - labeled},
    }
    if config.vocabulary == "domain":
        description["words"] = len(trainer.built.preprocessor.vocabulary)
    write_text(folder / DISTILLATION, yaml.safe_dump(description, sort_keys=False, allow_unicode=True))
