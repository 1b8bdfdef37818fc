"""A smaller model that learns what a trained one answers."""

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.datasets import SPLITS, Dataset, load_dataset
from tfhub_ft.data.fingerprints import fingerprints, fold_text
from tfhub_ft.data.rows import ReadOptions, read_all
from tfhub_ft.data.sequences import Mapped, select, spool
from tfhub_ft.distillation.losses import SOFT_LOSSES
from tfhub_ft.distillation.pruning import architecture_of, cut_encoder, evenly_spread
from tfhub_ft.distillation.vocabulary import domain_vocabulary
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.encoders.resolve import resolve
from tfhub_ft.run import DISTILLATION, MODEL, Run
from tfhub_ft.settings import DATA, Distillation, Settings
from tfhub_ft.training.distribution import is_chief, start_strategy
from tfhub_ft.training.pretrained import build_model, initialize
from tfhub_ft.training.results import score_trained, write_results, write_samples
from tfhub_ft.training.start import new_folder, opened_run
from tfhub_ft.training.tokens import warn_of_truncated_splits
from tfhub_ft.training.tracking import tracker_of
from tfhub_ft.training.trainer import Trainer
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.console import log, recorded_warnings
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write, rollback_on_error, sha256_of, write_text
from tfhub_ft.utils.keras_compat import inbound_nodes
from tfhub_ft.utils.memory import release_gradients

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.distillation.student_model import DistillationLoss, StudentLearner
    from tfhub_ft.encoders import HubEncoder, HubPreprocessor

# A student that is smaller has to learn in all its layers, whatever the teacher kept as it was.
LEARNT_BY = {"freeze": "none", "unfreeze": None, "reinit_layers": None, "lora_rank": None, "learning_rate": 1e-4}
PAIR = "encoder_pair"


def distill(run: str | Path | Run, *, student: str | Path, output_dir: str | Path, **settings: Any) -> Run:
    """Teach a smaller model to answer as a run does, and leave a run of it. What `tfhub-ft distill` does.

    The student learns the run's own rows, split as they were, and its logits of them, which are computed once and kept
    in the cache; and of rows without labels the logits alone. Of a student `layers:N` the encoder is N of the teacher's
    layers (see `evenly_spread`), and the head is the teacher's too; another encoder gets a new head.

    Args:
        run: a finished run, the teacher, or its folder; its answers are a label, labels or a number.
        student: "layers:N", or an encoder: a catalogue name, a handle, a URL or a folder.
        output_dir: the student's run folder, new or empty.
        settings: any field of `tfhub_ft.settings.Distillation` (unlabelled, temperature, alpha, hidden_weight,
            vocabulary) or of the recipe's settings. What is not given is the teacher's, but for `freeze` ("none"),
            `unfreeze`, `reinit_layers` and `lora_rank` (none) and `learning_rate` (1e-4).

    Returns:
        The student's run: like any other, with `distillation.yaml` beside it.

    Raises:
        InputError: the run is not finished or cannot teach, or a setting, a file or a row is not as it must be.
        RunError: the training failed.

    Example:
        small = tfhub_ft.distill("runs/reviews", student="layers:3", output_dir="runs/small", unlabelled="more.txt")
        small.metrics["test"]["accuracy"]

    Reference:
        Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531; Sanh et al. 2019, https://arxiv.org/abs/1910.01108
    """
    run = run if isinstance(run, Run) else Run(run)
    student = str(check_path("student", student, "layers:N or an encoder (str or Path)"))
    output_dir = check_path("output_dir", output_dir)
    lesson = Distillation(**{name: settings.pop(name) for name in Distillation.names() if name in settings})
    count = _layers_of(student)
    chosen = _student_settings(run, student, count, lesson, settings)
    folder = new_folder(output_dir)
    with recorded_warnings() as warnings:
        data, chosen = _dataset(run, chosen, any(settings.get(name) for name in DATA))
    texts = _texts(run, data, lesson, chosen)
    if count is None:
        _check_encoder(student, chosen)

    log(f"Loading the teacher {run.path}")
    teacher = _Teacher(run, run.load_model())
    kept = teacher.layers_for(count) if count else None
    if lesson.hidden_weight:
        teacher.check_hidden_states()
    with rollback_on_error(folder):
        chosen = _cut_student(teacher, chosen, kept, lesson, texts, folder)
        logits = teacher.logits(texts)
        tracker = tracker_of(chosen.track if is_chief(chosen.strategy) else None)
        recipe, task = run.recipe, run.recipe.task
        with recorded_warnings() as more:
            strategy = start_strategy(chosen)
            built = build_model(recipe, chosen, data.labels, strategy)
            tokens = _tokens(task, data, texts, built.preprocessor)
            labeled = tokens["train"].subset(np.arange(len(data.targets["train"])))
            initialize(task, built, labeled, data.targets["train"], chosen)
        if kept:
            take_head(teacher.network, built.network)
        loss = _distillation_loss(run, lesson, teacher, built.preprocessor, kept)
        trainer = StudentTrainer(recipe, chosen, data, built, tokens, strategy, loss=loss, logits=logits)
        _write_description(folder, teacher, student, lesson, kept, trainer)
        # The folder of a training that fails is kept.
        opened = contextlib.ExitStack()
        student_run = opened.enter_context(
            opened_run(recipe, run.recipe_name, folder, chosen, data, tracker, is_empty=False)
        )
    with opened, release_gradients():
        student_run.add_warnings([*warnings, *more])
        write_samples(student_run, task, data, chosen.seed)
        checkpoints = trainer.fit(student_run, tracker)
        write_results(student_run, trainer, checkpoints, *score_trained(trainer, checkpoints, None), tracker)
        return student_run


def _layers_of(student: str | Path) -> int | None:
    """The number of layers that `layers:N` asks for; None for another encoder."""
    asked = re.fullmatch(r"layers:(.*)", str(student))
    if asked and not re.fullmatch(r"[1-9]\d{0,3}", asked[1]):
        raise InputError(f"--student {student}: must be layers:N, where N is a whole number above 0; or an encoder")
    return int(asked[1]) if asked else None


def _student_settings(
    run: Run, student: str | Path, count: int | None, lesson: Distillation, given: dict[str, Any]
) -> Settings:
    """The teacher's settings with the changes for the student, checked as far as no model is needed for it."""
    task = run.recipe.task
    if task.name not in SOFT_LOSSES:
        raise InputError(
            f"{run.path}: the recipe {run.recipe.name} answers by {task.name}, which cannot be distilled; what can is"
            f" {', '.join(SOFT_LOSSES)}"
        )
    if not run.finished:
        raise InputError(f"{run.path}: its training did not finish, so it cannot teach; continue with --resume")
    if "encoder" in given:
        raise InputError("--encoder: the student's encoder is what --student names")
    if count and given.get("preprocessor"):
        raise InputError(f"--preprocessor: a student {student} has the teacher's")
    if lesson.hidden_weight and not count:
        raise InputError(f"--hidden-weight: the student {student} has other layers than the teacher; it needs layers:N")
    if given.get("strategy") == "multi-worker":
        raise InputError("--strategy multi-worker: one process teaches a student; mirrored takes all GPUs of a machine")
    changes = dict.fromkeys(DATA) if any(given.get(name) for name in DATA) else {}
    if run.settings.strategy == "multi-worker":
        changes["strategy"] = "one"
    changes |= {"preprocessor": None, **LEARNT_BY, **given}
    if not count:
        changes["encoder"] = str(student)
    chosen = run.settings.replaced(changes)
    if lesson.hidden_weight and chosen.seq_length != run.settings.seq_length:
        raise InputError(
            f"--seq-length {chosen.seq_length}: with --hidden-weight it must be the teacher's {run.settings.seq_length}"
        )
    return chosen


def _check_encoder(student: str | Path, chosen: Settings) -> None:
    try:
        resolve(student, chosen.preprocessor)
    except InputError as error:
        raise InputError(str(error).replace("--encoder ", "--student ", 1)) from None


def _dataset(run: Run, chosen: Settings, own_files: bool) -> tuple[Dataset, Settings]:
    """The student's rows, and settings that name them: files of its own, or else the teacher's, split as they were."""
    recipe = run.recipe
    if own_files:
        return load_dataset(recipe.task, chosen, recipe.demo, labels=run.labels), chosen
    try:
        located = run.located_settings()
        data = run.load_rows(located)
    except InputError as error:
        raise InputError(f"{error}; restore them, or name files with --train or --data") from None
    return data, chosen.replaced({name: getattr(located, name) for name in DATA if getattr(run.settings, name)})


def _texts(run: Run, data: Dataset, lesson: Distillation, chosen: Settings) -> Sequence[tuple[str, ...]]:
    """The segments of each row that is learnt from: the training rows, and behind them those without labels."""
    task = run.recipe.task
    labelled = Mapped(task.training_inputs, data.splits["train"].rows)
    if not lesson.unlabelled:
        return labelled
    # The lines of a txt file have no columns to be named.
    named = None if ".txt" in Path(lesson.unlabelled).suffixes else chosen
    options = ReadOptions.of_other_file(chosen)
    rows = read_all(
        lesson.unlabelled,
        task.columns(labeled=False, settings=named),
        options=options,
        skip_bad_rows=chosen.skip_bad_rows,
    )
    held_out = fingerprints(
        _folded(task.training_inputs(row))
        for name in SPLITS[1:]
        if name in data.splits
        for row in data.splits[name].rows
    )
    known = np.concatenate([held_out, fingerprints(map(_folded, labelled))])
    found = fingerprints(_folded(task.prediction_inputs(row)) for row in rows)
    # Of rows that stand there twice the last one counts, in the place of the first.
    _, firsts = np.unique(found, return_index=True)
    distinct, lasts = np.unique(found[::-1], return_index=True)
    is_new = ~np.isin(distinct, known)
    order = np.argsort(firsts[is_new])
    new = Mapped(task.prediction_inputs, select(rows, (len(rows) - 1 - lasts[is_new][order]).tolist()))
    if len(new) < len(rows):
        leaking = int(np.isin(found, held_out).sum())
        log(
            f"{lesson.unlabelled}: left out {leaking:,} of {len(rows):,} rows that also stand in the validation or test"
            f" rows, and {len(rows) - len(new) - leaking:,} that also stand in the training rows or stand there twice"
        )
    if not new:
        raise InputError(f"{lesson.unlabelled}: every row stands in the labelled rows too; leave --unlabelled out")
    return spool(itertools.chain(labelled, new))


def _folded(segments: tuple[str, ...]) -> str:
    """As a split compares texts."""
    return "\0".join(map(fold_text, segments))


@dataclass(frozen=True)
class _Teacher:
    """A run that teaches.

    Args:
        run: the run.
        model: its text-in model.
    """

    run: Run
    model: "keras.Model"

    @property
    def network(self) -> "keras.Model":
        return self.model.get_layer("token_model")

    @property
    def encoder(self) -> "HubEncoder":
        return encoder_of(self.network)

    @property
    def preprocessor(self) -> "HubPreprocessor":
        return self.model.get_layer("preprocessor")

    def layers_for(self, count: int) -> list[int]:
        """The layers that a student of `count` layers gets."""
        layers = architecture_of(self.encoder).layers
        if count >= layers:
            raise InputError(
                f"--student layers:{count}: must be fewer than the teacher's layers, of which there are {layers}"
            )
        return evenly_spread(count, layers)

    def check_hidden_states(self) -> None:
        """Raise an InputError where hidden states of the teacher and of its student cannot be compared."""
        if "encoder_outputs" not in self.encoder.spec["outputs"]:
            raise InputError(f"--hidden-weight: the encoder {self.encoder.encoder} does not give its hidden states")
        if self.encoder not in self.network.layers or len(inbound_nodes(self.encoder)) > 1:
            raise InputError("--hidden-weight: this recipe's encoder reads the two texts of a row apart; leave it out")

    def logits(self, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        """The teacher's logits of rows, float32 (rows, logits): computed once, and kept in the cache."""
        asked = hashlib.sha256(sha256_of(self.run.path / MODEL).encode())
        for segments in texts:
            asked.update(json.dumps(segments).encode())
        path = cache_dir() / "teacher_logits" / f"{asked.hexdigest()}.npy"
        # A damaged file is replaced; where the cache cannot be written, they are computed each time.
        with contextlib.suppress(OSError, ValueError, EOFError):
            logits = np.load(path)
            log(f"The teacher's scores of {len(texts):,} rows are in the cache")
            return logits
        log(f"Scoring {len(texts):,} rows by the teacher")
        task = self.run.recipe.task
        logits = task.make_score_fn(self.model)(task.encode(self.preprocessor, texts))
        with contextlib.suppress(OSError, RunError), atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, logits)
        return logits


def _cut_student(
    teacher: _Teacher,
    chosen: Settings,
    kept: list[int] | None,
    lesson: Distillation,
    texts: Sequence[tuple[str, ...]],
    folder: Path,
) -> Settings:
    """The settings with the encoder that the student starts from, which is made where it is not there as it stands."""
    if kept is None and lesson.vocabulary == "all":
        return chosen
    from tfhub_ft.encoders import HubEncoder, HubPreprocessor

    encoder, preprocessor = teacher.encoder, teacher.preprocessor
    if kept is None:
        encoder = HubEncoder(chosen.encoder)
        preprocessor = HubPreprocessor(
            chosen.encoder,
            preprocessor=chosen.preprocessor,
            seq_length=chosen.seq_length,
            lowercase=getattr(chosen, "lowercase", False),
        )
    words = domain_vocabulary(texts, preprocessor) if lesson.vocabulary == "domain" else None
    # A student for a domain reads no longer rows than it is trained with.
    seq_length = chosen.seq_length if words else None
    cut_encoder(encoder, preprocessor, folder / PAIR, layers=kept, vocabulary=words, seq_length=seq_length)
    return chosen.replaced({"encoder": str(folder / PAIR), "preprocessor": None})


class StudentTrainer(Trainer):
    """Train a student on rows that a teacher has scored.

    Args:
        loss: what the student is taught.
        logits: of the teacher, one for each training row; those without labels come last.
        others: the arguments of `Trainer`; the tokens of the split "train" are those of all training rows.
    """

    frozen = None

    def __init__(self, *others: Any, loss: "DistillationLoss", logits: np.ndarray):
        super().__init__(*others)
        self.loss, self.logits = loss, logits

    def training_rows(self) -> "tuple[TokenRows, Any]":
        """Return the labeled rows and after them the others, with the targets that a `StudentLearner` takes."""
        own = self.recipe.task.token_targets(self.tokens["train"], self.dataset.targets["train"])
        others = np.zeros((len(self.logits) - len(own), *own.shape[1:]), own.dtype)
        labelled = np.arange(len(self.logits)) < len(own)
        targets = {
            "own": np.concatenate([own, others]),
            "teacher": self.logits,
            "labelled": labelled.astype("float32"),
        }
        return self.tokens["train"], targets

    def step_model(self) -> "StudentLearner":
        """Return the network with the loss of a student."""
        import keras

        from tfhub_ft.distillation.student_model import StudentLearner

        outputs = {"logits": self.network.outputs[0]}
        if self.loss.hidden_loss:
            encoder = encoder_of(self.network)
            # Keras keeps the outputs of a layer as a flat list.
            structure = encoder.compute_output_spec(self.network.input)
            outputs["hidden"] = keras.tree.pack_sequence_as(structure, encoder.output)["encoder_outputs"]
        return StudentLearner(keras.Model(self.network.input, outputs), self.loss)


def _tokens(task: Any, data: Dataset, texts: Sequence[tuple[str, ...]], preprocessor: Any) -> "dict[str, TokenRows]":
    """Return the tokens of each split; tokens that were prepared are those of the teacher's encoder."""
    inputs = {name: Mapped(task.training_inputs, split.rows) for name, split in data.splits.items()}
    log(f"Tokenizing {sum(map(len, inputs.values())) - len(inputs['train']) + len(texts):,} rows")
    tokens = {name: task.encode(preprocessor, each) for name, each in (inputs | {"train": texts}).items()}
    warn_of_truncated_splits(data, tokens, preprocessor.seq_length)
    return tokens


def take_head(teacher: "keras.Model", student: "keras.Model") -> None:
    """Give a student whose encoder is as wide as its teacher's the weights of all other layers."""
    for own, taken in zip(_outside_encoder(student), _outside_encoder(teacher), strict=True):
        own.assign(taken)


def _outside_encoder(network: "keras.Model") -> list["keras.Variable"]:
    inside = {id(variable) for variable in encoder_of(network).variables}
    return [variable for variable in network.weights if id(variable) not in inside]


def _distillation_loss(
    run: Run, lesson: Distillation, teacher: _Teacher, preprocessor: Any, kept: list[int] | None
) -> "DistillationLoss":
    from tfhub_ft.distillation.student_model import DistillationLoss, hidden_difference

    objective = {
        "soft_loss": SOFT_LOSSES[run.recipe.task.name],
        "temperature": lesson.temperature,
        "alpha": lesson.alpha,
    }
    if not lesson.hidden_weight:
        return DistillationLoss(**objective)
    encoder, place = teacher.encoder, {word: number for number, word in enumerate(teacher.preprocessor.vocabulary)}
    word_ids = [place[word] for word in preprocessor.vocabulary]
    hidden_loss = hidden_difference(lambda tokens: encoder(tokens, training=False)["encoder_outputs"], kept, word_ids)
    return DistillationLoss(**objective, hidden_weight=lesson.hidden_weight, hidden_loss=hidden_loss)


def _write_description(
    folder: Path,
    teacher: _Teacher,
    student: str | Path,
    lesson: Distillation,
    kept: list[int] | None,
    trainer: StudentTrainer,
) -> None:
    import yaml

    labelled = len(trainer.dataset.splits["train"].rows)
    described = {
        "teacher": str(teacher.run.path.resolve()),
        "teacher_sha256": sha256_of(teacher.run.path / MODEL),
        "student": str(student),
        "teacher_layers": kept,
        **{name: getattr(lesson, name) for name in lesson.names()},
        "rows": {"labelled": labelled, "unlabelled": len(trainer.logits) - labelled},
    }
    if lesson.vocabulary == "domain":
        described["words"] = len(trainer.built.preprocessor.vocabulary)
    write_text(folder / DISTILLATION, yaml.safe_dump(described, sort_keys=False, allow_unicode=True))
