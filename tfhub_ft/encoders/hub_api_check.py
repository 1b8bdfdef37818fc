"""Check that SavedModels follow the TF Hub text API by calling them.

The API: https://www.tensorflow.org/hub/common_saved_model_apis/text
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.saved_module import input_specs
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError, UntrustedCode, kind_and_first_line
from tfhub_ft.utils.saved_graph import load_graph

if TYPE_CHECKING:
    import tensorflow as tf

LENGTHS = (3, 16, 40)
PADDING_TOLERANCE = 1e-3
SPECIAL_TOKENS = ("start_of_sequence_id", "end_of_segment_id", "padding_id", "vocab_size")


@dataclass(frozen=True)
class Finding:
    """The result of a check: its name, whether it passed, and a description of what was found."""

    what: str
    ok: bool
    found: str


@pin_to_cpu
def verify_encoder(folder: str | Path, preprocessor: str | Path | None = None) -> list[Finding]:
    """Check a text encoder, or the pair in a folder; by default with the `preprocessor` beside the encoder, if any."""
    folder = Path(folder)
    path = folder / "encoder" if (folder / "encoder" / "saved_model.pb").is_file() else folder
    beside = path.absolute().parent / "preprocessor"
    _check_saved_model(path)
    if preprocessor is not None:
        _check_saved_model(Path(preprocessor))
    encoder, size = _load(path)
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
    findings = [Finding("loads", True, size), *(_run_check(what, check, probe) for what, check in checks.items())]
    if preprocessor is not None or (beside / "saved_model.pb").is_file():
        findings += _verify_preprocessor(Path(preprocessor or beside), probe)
    return findings


class _Probe:
    """A loaded encoder with inputs to call it on."""

    def __init__(self, module: Any, specs: "dict[str, tf.TensorSpec]"):
        self.module, self.specs = module, specs
        self.variables = list(getattr(module, "variables", []))
        self.trainable = list(getattr(module, "trainable_variables", []))
        self.takes_training = "training" in module.__call__.function_spec.arg_names
        batch, length = specs["input_word_ids"].shape.as_list()
        self.batch, self.length, self.fixed_length = batch or 2, length or LENGTHS[1], length
        self.max_length, self.vocab_size = self._rows("position_embedding"), self._rows("word_embedding")

    def _rows(self, name: str) -> int | None:
        return next((int(v.shape[0]) for v in self.variables if name in v.name), None)

    def inputs(self, length: int, padding: int = 0) -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        ids = np.tile(np.arange(length) % 40 + 1, (self.batch, 1)) + np.arange(self.batch)[:, None]
        values = {"input_word_ids": ids, "input_mask": np.ones_like(ids)}
        padded = {name: np.pad(values.get(name, np.zeros_like(ids)), ((0, 0), (0, padding))) for name in self.specs}
        return {name: tf.constant(padded[name], spec.dtype) for name, spec in self.specs.items()}

    def __call__(self, inputs: "dict[str, tf.Tensor] | None" = None, *, training: bool = False) -> dict[str, Any]:
        inputs = self.inputs(self.length) if inputs is None else inputs
        return self.module(inputs, training=training) if self.takes_training else self.module(inputs)


def _check_saved_model(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{path}: not found; expected a SavedModel folder")
    if (path / "tfhub_module.pb").is_file():
        raise InputError(f"{path}: a TensorFlow 1 module, which cannot be fine-tuned; use its SavedModel version")
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: not a SavedModel (saved_model.pb not found)")


def _load(path: Path) -> tuple[Any, str]:
    start = time.monotonic()
    try:
        module = load_graph(path)
    except UntrustedCode:
        raise
    except Exception as error:  # damaged SavedModels raise many types of errors
        raise InputError(f"{path}: the SavedModel cannot be loaded ({kind_and_first_line(error)})") from None
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return module, f"{size / 1e6:,.1f} MB in {time.monotonic() - start:.1f} s"


def _run_check(what: str, check: Callable[..., tuple[bool, str]], *arguments: Any) -> Finding:
    try:
        ok, found = check(*arguments)
        return Finding(what, bool(ok), found)
    except Exception as error:  # any failure is a finding
        return Finding(what, False, f"failed: {kind_and_first_line(error)}")


def _inputs(probe: _Probe) -> tuple[bool, str]:
    import tensorflow as tf

    found = ", ".join(f"{n} {s.dtype.name} {_shape(s.shape)}" for n, s in sorted(probe.specs.items()))
    if missing := [name for name in TOKEN_INPUTS[:2] if name not in probe.specs]:
        return False, f"{found}; missing: {', '.join(missing)}"
    if unknown := [name for name in probe.specs if name not in TOKEN_INPUTS]:
        return False, f"{found}; unknown: {', '.join(unknown)}"
    ok = all(spec.dtype == tf.int32 and len(spec.shape) == 2 for spec in probe.specs.values())
    return ok, found if TOKEN_INPUTS[2] in probe.specs else f"{found}; no input_type_ids (segments are not supported)"


def _shape(shape: "tf.TensorShape") -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape.as_list()) + "]"


def _outputs(probe: _Probe) -> tuple[bool, str]:
    outputs = probe()
    missing = [name for name in ("pooled_output", "sequence_output", "default") if name not in outputs]
    if missing:
        return False, f"missing: {', '.join(missing)}; found: {', '.join(sorted(outputs))}"
    size = outputs["sequence_output"].shape[-1]
    token_shape, layers = [probe.batch, probe.length, size], outputs.get("encoder_outputs", [])
    ok = outputs["sequence_output"].shape == token_shape and all(layer.shape == token_shape for layer in layers)
    ok &= all(outputs[name].shape == [probe.batch, outputs[name].shape[-1]] for name in ("pooled_output", "default"))
    ok &= all(outputs[name].dtype.name == "float32" for name in ("pooled_output", "sequence_output"))
    found = f"pooled_output [batch, {outputs['pooled_output'].shape[-1]}], sequence_output [batch, length, {size}]"
    return ok, f"{found}, encoder_outputs of {len(layers)} layers" if layers else f"{found}, no encoder_outputs"


def _training_argument(probe: _Probe) -> tuple[bool, str]:
    if not probe.takes_training:
        return True, "not supported: training and inference are the same"
    probe(training=True)
    return True, "supported"


def _dropout(probe: _Probe) -> tuple[bool, str]:
    def calls_differ(training: bool) -> bool:
        first, second = (probe(training=training)["sequence_output"].numpy() for _ in range(2))
        return not np.array_equal(first, second)

    if calls_differ(False):
        return False, "outputs differ from call to call outside of training"
    return True, "active only in training" if calls_differ(True) else "no difference between training and inference"


def _trainable_variables(probe: _Probe) -> tuple[bool, str]:
    parameters = sum(int(np.prod(variable.shape)) for variable in probe.trainable)
    return parameters > 0, f"{len(probe.trainable)} of {len(probe.variables)}, {parameters:,} parameters"


def _gradients(probe: _Probe) -> tuple[bool, str]:
    import tensorflow as tf

    if not probe.trainable:
        return False, "no variable is trainable"
    with tf.GradientTape() as tape:
        outputs = probe(training=True)
        loss = tf.add_n([tf.reduce_sum(outputs[name] ** 2) for name in ("pooled_output", "sequence_output")])
    gradients = tape.gradient(loss, probe.trainable)
    without = [v.name for v, gradient in zip(probe.trainable, gradients, strict=True) if gradient is None]
    if without:
        return False, f"missing for {', '.join(without[:3])}"
    return True, f"found for all {len(probe.trainable)} trainable variables"


def _padding(probe: _Probe) -> tuple[bool, str]:
    if probe.fixed_length:
        return True, f"not checked, because the length is fixed to {probe.fixed_length}"
    short, padded = probe(probe.inputs(8)), probe(probe.inputs(8, padding=4))
    difference = float(np.abs(short["pooled_output"].numpy() - padded["pooled_output"].numpy()).max())
    return difference <= PADDING_TOLERANCE, f"changes pooled_output by {difference:.1g}"


def _sequence_lengths(probe: _Probe) -> tuple[bool, str]:
    if probe.fixed_length:
        return False, f"only {probe.fixed_length}; the API requires any length"
    max_length = probe.max_length or max(LENGTHS)
    lengths = sorted({min(length, max_length) for length in (*LENGTHS, max_length)})
    for length in lengths:
        actual = probe(probe.inputs(length))["sequence_output"].shape[1]
        if actual != length:
            return False, f"{length} tokens give a sequence_output of {actual}"
    limit = f"; at most {max_length} (position embeddings)" if probe.max_length else "; no limit found"
    return True, ", ".join(map(str, lengths)) + limit


def _verify_preprocessor(path: Path, probe: _Probe) -> list[Finding]:
    preprocessor, size = _load(path)
    checks = {
        "preprocessor: call": _preprocessor_call,
        "preprocessor: tokenize": _tokenize,
        "preprocessor: bert_pack_inputs": _pack,
        "preprocessor: special tokens": _special_tokens,
        "preprocessor: fits the encoder": _fits,
    }
    findings = [_run_check(what, check, preprocessor, probe) for what, check in checks.items()]
    return [Finding("preprocessor: loads", True, size), *findings]


def _texts() -> "tf.Tensor":
    import tensorflow as tf

    return tf.constant(["A good film.", "The service was slow, but the food: excellent!"])


def _packed(preprocessor: Any, segments: int, length: int) -> "dict[str, tf.Tensor]":
    import tensorflow as tf

    tokens = [preprocessor.tokenize(_texts()) for _ in range(segments)]
    return preprocessor.bert_pack_inputs(tokens, seq_length=tf.constant(length))


def _preprocessor_call(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    tokens = preprocessor(_texts())
    shapes = {name: _shape(value.shape) for name, value in tokens.items()}
    ok = shapes.keys() == probe.specs.keys() and len(set(shapes.values())) == 1
    return ok, f"returns {', '.join(sorted(tokens))} {shapes[min(tokens)]}"


def _tokenize(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    tokens = preprocessor.tokenize(_texts())
    levels = "tokens grouped by word" if tokens.ragged_rank > 1 else "tokens not grouped by word"
    return tokens.dtype.name == "int32" and tokens.nrows() == 2, f"{tokens.dtype.name}, {levels}"


def _pack(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    tokens = {}
    for segments, length in ((1, 9), (2, 24)):
        tokens = _packed(preprocessor, segments, length)
        wrong = [name for name, value in tokens.items() if value.shape != [2, length] or value.dtype.name != "int32"]
        if wrong:
            return False, f"seq_length={length} gives {wrong[0]} {_shape(tokens[wrong[0]].shape)}"
    kinds = "with" if np.any(tokens.get("input_type_ids", 0)) else "without"
    return True, f"any seq_length; two segments, {kinds} token types"


def _special_tokens(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    special = {name: int(value) for name, value in preprocessor.tokenize.get_special_tokens_dict().items()}
    missing = [name for name in SPECIAL_TOKENS if name not in special]
    if missing:
        return False, f"missing: {', '.join(missing)}"
    tokens = _packed(preprocessor, 1, 24)
    row, length = tokens["input_word_ids"][0].numpy(), int(np.sum(tokens["input_mask"][0]))
    expected = [special[name] for name in ("start_of_sequence_id", "end_of_segment_id", "padding_id")]
    return [row[0], row[length - 1], row[-1]] == expected, ", ".join(f"{n} {v}" for n, v in sorted(special.items()))


def _fits(preprocessor: Any, probe: _Probe) -> tuple[bool, str]:
    tokens = _packed(preprocessor, 1, min(24, probe.max_length or 24))
    vocab_size = int(preprocessor.tokenize.get_special_tokens_dict()["vocab_size"])
    if probe.vocab_size and vocab_size > probe.vocab_size:
        return False, f"its vocabulary has {vocab_size} tokens, but the encoder has {probe.vocab_size} embeddings"
    is_finite = bool(np.isfinite(probe(tokens)["pooled_output"].numpy()).all())
    embeddings = f" for {probe.vocab_size} embeddings" if probe.vocab_size else ""
    return is_finite, f"{vocab_size} tokens{embeddings}; outputs are {'finite' if is_finite else 'not finite'}"
