"""A TFLite file that stands in for the Keras model that it was made of, so that both answer by the same code."""

import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.exports.tflite_metadata import read_description, read_vocabulary_text
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.isolated_tflite import IsolatedRunner
from tfhub_ft.metrics.calibration import logits_of
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.utils.console import quiet
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder


def logits_of_output(task: Task, output: np.ndarray) -> np.ndarray:
    """Return the logits, up to what predictions do not depend on, of a file's output, which may be probabilities."""
    return logits_of(output, task.output_activation).astype("float32") if task.output_activation else output


class LiteModel:
    """A TFLite export, with the layers that a task asks a Keras model for.

    Args:
        file: a file that `tfhub_ft.export` wrote.
        threads: that compute; as many as there are cores by default.
        isolated: whether LiteRT runs in a process of its own, which a damaged file may end.

    Raises:
        InputError: the file is no such export.

    Example:
        lite = LiteModel(Path("saved_models/reviews/tflite/reviews_dynamic.tflite"))
        answers = lite.answers([("a warm, funny film",)])
    """

    def __init__(self, file: Path, *, threads: int | None = None, isolated: bool = False):
        self.file, self.threads, self.isolated = Path(file), threads or os.cpu_count(), isolated
        self.description = read_description(self.file)
        self.labels, self.decision = self.description["labels"], self.description["decision"]

    @property
    def reads_texts(self) -> bool:
        """Whether the tokenizer stands in the file."""
        return self.description["reads_texts"]

    @cached_property
    def task(self) -> Task:
        """What is answered; its fields are the inputs of the model."""
        return described_task(self.description, self.file)

    def answers(self, rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """The answers of rows of segments, as the task words them.

        Raises:
            InputError: LiteRT cannot run the file.
        """
        try:
            return self._answerer(rows)
        except Exception:
            # TensorFlow words errors within its graphs by itself.
            if fault := getattr(self.__dict__.get("_network"), "fault", None):
                raise fault from None
            raise

    @cached_property
    def _answerer(self) -> Any:
        if self.reads_texts:
            return lambda rows: self.task.decode_serving_outputs(
                {"logits": self.logits_of_texts(rows)}, rows, self.labels, self.decision
            )
        return make_predict_fn(self.task, self, self.labels, self.decision)

    def logits_of_texts(self, rows: Sequence[tuple[str, ...]]) -> np.ndarray:
        """The logits of texts, float32 (rows, ...), by a file that reads texts, one at a time."""
        feeds = ({"text": np.array([text.encode()], object)} for (text,) in rows)
        return np.concatenate([self.task.logits_from_tflite(self._network.run(feed)) for feed in feeds])

    def get_layer(self, name: str) -> Any:
        """The layer `preprocessor` or `token_model`, as a Keras model has them."""
        return {"preprocessor": lambda: self._preprocessor, "token_model": lambda: self._network}[name]()

    @cached_property
    def _network(self) -> "LiteNetwork":
        make_runner = IsolatedRunner if self.isolated else signature_runner
        runner = make_runner(self.file, reads_texts=self.reads_texts, threads=self.threads)
        return LiteNetwork(runner, self.task)

    @cached_property
    def _preprocessor(self) -> Any:
        vocabulary = read_vocabulary_text(self.file)
        if vocabulary is None:
            raise InputError(f"{self.file} carries no WordPiece vocabulary: tokenize by the run that it was made of")
        import tensorflow as tf

        # It may be asked for first while a graph is built that uses it.
        with tf.init_scope():
            return preprocessor_of_vocabulary(
                vocabulary, self.description["preprocessor"], lowercase=self.description["lowercase"]
            )


def carries_tokenizer(file: Path) -> bool:
    """Whether a file can be asked by texts: it has a vocabulary."""
    return read_vocabulary_text(file) is not None


class LiteNetwork:
    """The part of a model from tokens on, computed by LiteRT.

    Args:
        runner: computes the file's one output.
        task: knows how to get from it to logits.
    """

    def __init__(self, runner: Any, task: Task):
        self._call, self._task, self._lock = runner, task, threading.Lock()
        self.fault: InputError | None = None
        self.input = list(runner.get_input_details())
        (output,) = runner.get_output_details().values()
        self._shape = [None if size == -1 else size for size in list(output["shape_signature"])]

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """The file's output for inputs by name."""
        with self._lock:
            try:
                (output,) = self._call(**feed).values()
            except InputError as error:
                self.fault = error
                raise
            return output.copy()

    def __call__(self, tokens: dict[str, Any], training: bool = False) -> Any:
        """The logits, float32 (batch, ...), of int32 tensors (batch, length) by name."""
        return computed_outside(lambda feed: logits_of_output(self._task, self.run(feed)), tokens, self._shape)


def computed_outside(
    logits_of: Callable[[dict[str, np.ndarray]], np.ndarray], tokens: dict[str, Any], shape: Sequence[int | None]
) -> Any:
    """Logits that another runtime computes, as a tensor.

    Args:
        logits_of: from arrays by name to float32 logits.
        tokens: int32 tensors (batch, length) by name.
        shape: what is known of the logits' shape.
    """
    import tensorflow as tf

    names = list(tokens)
    logits = tf.numpy_function(
        lambda *arrays: logits_of(dict(zip(names, arrays, strict=True))), [*tokens.values()], tf.float32
    )
    return tf.ensure_shape(logits, shape)


def signature_runner(file: Path, *, reads_texts: bool = False, threads: int | None = None) -> Any:
    """LiteRT's interpreter of a file, as a function of arrays by name.

    Args:
        file: the TFLite file.
        reads_texts: whether TF Text's operations are needed.
        threads: that compute.
    """
    if reads_texts:
        from ai_edge_litert.interpreter import InterpreterWithCustomOps
        from tensorflow_text.core.pybinds import tflite_registrar

        interpreter = InterpreterWithCustomOps(
            model_path=str(file),
            num_threads=threads,
            custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS,
        )
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(file), num_threads=threads)
    with quiet():
        interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    # The interpreter must live as long as its runner.
    runner.interpreter = interpreter
    return runner


def preprocessor_of_vocabulary(vocabulary: str, config: dict[str, Any], *, lowercase: bool) -> Any:
    """A preprocessing layer that reads a vocabulary instead of a TF Hub module.

    Args:
        vocabulary: a token a line.
        config: {"class": the layer's class, "config": its `get_config`}.
        lowercase: whether the vocabulary is of lower-cased words without accents.
    """
    layer = preprocessor_layer(config)
    workspace = temporary_folder()
    file = Path(workspace.name) / "assets" / "vocab.txt"
    file.parent.mkdir()
    file.write_text(vocabulary, encoding="utf-8")
    layer.take(WordPieceModule(file, lowercase=lowercase), workspace)
    return layer


def preprocessor_layer(config: dict[str, Any]) -> Any:
    """A preprocessing layer that still has to `take` a module.

    Args:
        config: {"class": the layer's class, "config": its `get_config`}.
    """
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

    kinds = {kind.__name__: kind for kind in (HubPreprocessor, WindowPreprocessor)}
    return kinds[config["class"]].from_config(config["config"])


class WordPieceModule:
    """The two functions of a TF Hub text preprocessor, made of a vocabulary.

    Args:
        vocabulary: a file, a token a line.
        lowercase: whether texts are lower-cased and stripped of accents.
    """

    def __init__(self, vocabulary: Path, *, lowercase: bool):
        import tensorflow as tf
        import tensorflow_text

        words = vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n")
        self._first, self._last = words.index("[CLS]"), words.index("[SEP]")
        self._tokenizer = tensorflow_text.BertTokenizer(str(vocabulary), token_out_type=tf.int32, lower_case=lowercase)

    def tokenize(self, texts: Any) -> Any:
        """The tokens of texts, string (batch,): int32, ragged (batch, words, tokens)."""
        return self._tokenizer.tokenize(texts)

    def bert_pack_inputs(self, segments: list[Any], seq_length: Any) -> dict[str, Any]:
        """Segments of tokens between [CLS] and [SEP], cut in turn and padded to `seq_length`."""
        from tfhub_ft.encoders.packing import pack_segments

        return pack_segments(segments, seq_length, first=self._first, last=self._last)
