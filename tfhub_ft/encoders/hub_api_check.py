"""Whether a SavedModel follows the TF Hub text API: it is loaded, called, differentiated and measured, not believed.

The API: https://www.tensorflow.org/hub/common_saved_model_apis/text
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.saved_module import input_specs
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError, UntrustedCode, kind_and_first_line
from tfhub_ft.utils.saved_graph import load_graph

LENGTHS = (3, 16, 40)
PADDING_TOLERANCE = 1e-3
SPECIAL_TOKENS = ("start_of_sequence_id", "end_of_segment_id", "padding_id", "vocab_size")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        what: what was looked at, such as "inputs".
        ok: whether it is as the TF Hub text API says.
        found: what was found, a few words.
    """

    what: str
    ok: bool
    found: str


@pin_to_cpu
def verify_encoder(folder: str | Path, preprocessor: str | Path | None = None) -> list[Finding]:
    """Check a TF Hub text encoder, and the preprocessor that belongs to it.

    Args:
        folder: the encoder's SavedModel, or a folder that holds one named `encoder`.
        preprocessor: its preprocessor's SavedModel; when not given, a `preprocessor` beside the encoder is taken.

    Returns:
        A finding for each check, in the order that they were made.

    Raises:
        InputError: the folder holds no SavedModel, one that does not load, or one that is no text encoder.

    Example:
        for finding in verify_encoder("encoders/minilm"):
            print("ok" if finding.ok else "NOT OK", finding.what, finding.found)

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """
    folder = Path(folder)
    path = folder / "encoder" if (folder / "encoder" / "saved_model.pb").is_file() else folder
    beside = path.absolute().parent / "preprocessor"
    _check_saved_model(path)
    if preprocessor is not None:
        _check_saved_model(Path(preprocessor))
    encoder, loaded = _load(path)
    probe = _Probe(encoder, input_specs(encoder, path))
    checks = {
        "inputs": _inputs,
        "outputs": _outputs,
        "training argument": _training_argument,
        "dropout": _dropout,
        "trainable variables": _trainable_variables,
        "gradients": _gradients,
        "padding": _padding,
        "sequence lengths": _sequence_lengths,
    }
    findings = [Finding("loads", True, loaded), *(_tried(what, check, probe) for what, check in checks.items())]
    if preprocessor is not None or (beside / "saved_model.pb").is_file():
        findings += _verify_preprocessor(Path(preprocessor or beside), probe)
    return findings


class _Probe:
    """An encoder with the inputs to call it on."""

    def __init__(self, module: Any, specs: dict[str, Any]):
        self.module, self.specs = module, specs
        self.variables = list(getattr(module, "variables", []))
        self.trainable = list(getattr(module, "trainable_variables", []))
        self.takes_training = "training" in module.__call__.function_spec.arg_names
        batch, length = specs["input_word_ids"].shape.as_list()
        self.batch, self.length, self.fixed_length = batch or 2, length or LENGTHS[1], length
        positions = [v.shape[0] for v in self.variables if "position_embedding" in v.name]
        self.limit = int(positions[0]) if positions else None
        rows = [v.shape[0] for v in self.variables if "word_embedding" in v.name]
        self.vocab_size = int(rows[0]) if rows else None

    def features(self, length: int, padding: int = 0) -> dict[str, Any]:
        import tensorflow as tf

        ids = np.tile(np.arange(length) % 40 + 1, (self.batch, 1)) + np.arange(self.batch)[:, None]
        values = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
        padded = {name: np.pad(value, ((0, 0), (0, padding))) for name, value in values.items()}
        return {
            name: tf.constant(padded.get(name, padded["input_type_ids"]), s.dtype) for name, s in self.specs.items()
        }

    def __call__(self, features: dict[str, Any] | None = None, *, training: bool = False) -> Any:
        features = self.features(self.length) if features is None else features
        return self.module(features, training=training) if self.takes_training else self.module(features)


def _check_saved_model(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a SavedModel's")
    if (path / "tfhub_module.pb").is_file():
        raise InputError(f"{path}: a module of TensorFlow 1, which cannot be fine-tuned here; take a SavedModel of it")
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: no SavedModel, as it has no saved_model.pb")


def _load(path: Path) -> tuple[Any, str]:
    start = time.monotonic()
    try:
        module = load_graph(path)
    except UntrustedCode:
        raise
    except Exception as error:  # noqa: BLE001  a broken SavedModel fails in many ways
        raise InputError(f"{path}: this SavedModel cannot be loaded ({kind_and_first_line(error)})") from None
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return module, f"{size / 1e6:,.1f} MB in {time.monotonic() - start:.1f} s"


def _tried(what: str, check: Callable[..., tuple[bool, str]], *arguments: Any) -> Finding:
    try:
        ok, found = check(*arguments)
        return Finding(what, bool(ok), found)
    except Exception as error:  # noqa: BLE001  any failure of what is checked is a finding
        return Finding(what, False, f"failed: {kind_and_first_line(error)}")


def _inputs(probe: _Probe) -> tuple[bool, str]:
    import tensorflow as tf

    missing, further = (
        [n for n in TOKEN_INPUTS[:2] if n not in probe.specs],
        [n for n in probe.specs if n not in TOKEN_INPUTS],
    )
    fits = all(spec.dtype == tf.int32 and len(spec.shape) == 2 for spec in probe.specs.values())
    found = ", ".join(f"{n} {s.dtype.name} {_shape(s.shape)}" for n, s in sorted(probe.specs.items()))
    if missing or further:
        return False, f"{found}; " + (f"lacks {', '.join(missing)}" if missing else f"{', '.join(further)} is unknown")
    return fits, found if TOKEN_INPUTS[2] in probe.specs else f"{found}; no input_type_ids: it tells no segments apart"


def _shape(shape: Any) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape.as_list()) + "]"


def _outputs(probe: _Probe) -> tuple[bool, str]:
    answers = probe()
    missing = [name for name in ("pooled_output", "sequence_output", "default") if name not in answers]
    if missing:
        return False, f"lacks {', '.join(missing)}; has {', '.join(sorted(answers))}"
    width = answers["sequence_output"].shape[-1]
    token_shape, layers = [probe.batch, probe.length, width], answers.get("encoder_outputs", [])
    fits = answers["sequence_output"].shape == token_shape and all(layer.shape == token_shape for layer in layers)
    fits &= all(answers[name].shape == [probe.batch, answers[name].shape[-1]] for name in ("pooled_output", "default"))
    fits &= all(answers[name].dtype.name == "float32" for name in ("pooled_output", "sequence_output"))
    found = f"pooled_output [batch, {answers['pooled_output'].shape[-1]}], sequence_output [batch, length, {width}]"
    return fits, f"{found}, encoder_outputs of {len(layers)} layers" if layers else f"{found}, no encoder_outputs"


def _training_argument(probe: _Probe) -> tuple[bool, str]:
    if not probe.takes_training:
        return True, "none: it does the same in training"
    probe(training=True)
    return True, "taken"


def _dropout(probe: _Probe) -> tuple[bool, str]:
    def answer(training: bool) -> np.ndarray:
        return probe(training=training)["sequence_output"].numpy()

    if not np.array_equal(answer(False), answer(False)):
        return False, "answers differ from call to call outside training"
    differs = not np.array_equal(answer(True), answer(True))
    return True, "active in training only" if differs else "no difference between training and inference"


def _trainable_variables(probe: _Probe) -> tuple[bool, str]:
    parameters = sum(int(np.prod(variable.shape)) for variable in probe.trainable)
    return parameters > 0, f"{len(probe.trainable)} of {len(probe.variables)}, {parameters:,} parameters"


def _gradients(probe: _Probe) -> tuple[bool, str]:
    import tensorflow as tf

    if not probe.trainable:
        return False, "nothing is trainable"
    with tf.GradientTape() as tape:
        answers = probe(training=True)
        loss = sum(tf.reduce_sum(answers[name] ** 2) for name in ("pooled_output", "sequence_output"))
    gradients = tape.gradient(loss, probe.trainable)
    unreached = [v.name for v, gradient in zip(probe.trainable, gradients, strict=True) if gradient is None]
    if unreached:
        return False, f"do not reach {', '.join(unreached[:3])}"
    return True, f"reach all {len(probe.trainable)} trainable variables"


def _padding(probe: _Probe) -> tuple[bool, str]:
    if probe.fixed_length:
        return True, f"not checked, as the length is fixed to {probe.fixed_length}"
    short, padded = probe(probe.features(8)), probe(probe.features(8, padding=4))
    difference = float(np.abs(short["pooled_output"].numpy() - padded["pooled_output"].numpy()).max())
    return difference <= PADDING_TOLERANCE, f"changes pooled_output by {difference:.1g}"


def _sequence_lengths(probe: _Probe) -> tuple[bool, str]:
    if probe.fixed_length:
        return False, f"only {probe.fixed_length}; the API's encoders take any"
    lengths = sorted({min(length, probe.limit or length) for length in LENGTHS} | ({probe.limit} - {None}))
    for length in lengths:
        answered = probe(probe.features(length))["sequence_output"].shape[1]
        if answered != length:
            return False, f"{length} tokens give a sequence_output of {answered}"
    limit = f"; at most {probe.limit} (position embeddings)" if probe.limit else "; no limit found"
    return True, ", ".join(map(str, lengths)) + limit


def _verify_preprocessor(path: Path, probe: _Probe) -> list[Finding]:
    preprocessor, loaded = _load(path)
    checks = {
        "preprocessor: call": _preprocessor_call,
        "preprocessor: tokenize": _tokenize,
        "preprocessor: bert_pack_inputs": _pack,
        "preprocessor: special tokens": _special_tokens,
        "preprocessor: fits the encoder": _fits,
    }
    made = [_tried(what, check, preprocessor, probe) for what, check in checks.items()]
    return [Finding("preprocessor: loads", True, loaded), *made]


def _texts() -> Any:
    import tensorflow as tf

    return tf.constant(["A good film.", "The service was slow, but the food: excellent!"])


def _packed(preprocessor: Any, segments: int, length: int) -> dict[str, Any]:
    import tensorflow as tf

    tokens = [preprocessor.tokenize(_texts()) for _ in range(segments)]
    return preprocessor.bert_pack_inputs(tokens, seq_length=tf.constant(length))


def _preprocessor_call(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    made = preprocessor(_texts())
    shapes = {name: _shape(value.shape) for name, value in made.items()}
    fits = shapes.keys() == probe.specs.keys() and len(set(shapes.values())) == 1
    return fits, f"strings become {', '.join(sorted(made))} {shapes[sorted(made)[0]]}"


def _tokenize(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:  # noqa: ARG001
    tokens = preprocessor.tokenize(_texts())
    levels = "a word's pieces kept together" if tokens.ragged_rank > 1 else "pieces in a row"
    return tokens.dtype.name == "int32" and tokens.nrows() == 2, f"{tokens.dtype.name}, {levels}"


def _pack(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:  # noqa: ARG001
    for segments, length in ((1, 9), (2, 24)):
        made = _packed(preprocessor, segments, length)
        wrong = [name for name, value in made.items() if value.shape != [2, length] or value.dtype.name != "int32"]
        if wrong:
            return False, f"seq_length={length} gives {wrong[0]} {_shape(made[wrong[0]].shape)}"
    kinds = "with" if np.any(made.get("input_type_ids", 0)) else "without"
    return True, f"any seq_length; two segments, {kinds} token types"


def _special_tokens(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:  # noqa: ARG001
    special = {name: int(value) for name, value in preprocessor.tokenize.get_special_tokens_dict().items()}
    missing = [name for name in SPECIAL_TOKENS if name not in special]
    if missing:
        return False, f"lacks {', '.join(missing)}"
    made = _packed(preprocessor, 1, 24)
    row, size = made["input_word_ids"][0].numpy(), int(np.sum(made["input_mask"][0]))
    wanted = [special[name] for name in ("start_of_sequence_id", "end_of_segment_id", "padding_id")]
    return [row[0], row[size - 1], row[-1]] == wanted, ", ".join(f"{n} {v}" for n, v in sorted(special.items()))


def _fits(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    made = _packed(preprocessor, 1, min(24, probe.limit or 24))
    vocab_size = int(preprocessor.tokenize.get_special_tokens_dict()["vocab_size"])
    if probe.vocab_size and vocab_size > probe.vocab_size:
        return False, f"its vocabulary has {vocab_size} tokens, the encoder's embeddings {probe.vocab_size} rows"
    finite = bool(np.isfinite(probe(made)["pooled_output"].numpy()).all())
    rows = f" for {probe.vocab_size} embeddings" if probe.vocab_size else ""
    return finite, f"{vocab_size} tokens{rows}; its output is answered with finite numbers"
