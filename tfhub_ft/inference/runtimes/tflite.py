"""Run a TFLite file with LiteRT."""

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime
from tfhub_ft.utils.console import quiet

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter, SignatureRunner


class TFLiteRuntime(Runtime):
    """A TFLite file that reads tokens; runs on `threads` threads, by default one per core."""

    packages = ("ai_edge_litert.interpreter",)
    outputs_texts, outputs_only_logits = False, True

    def __init__(self, path: Path, threads: int | None = None):
        super().__init__(path)
        self._arguments = {"model_path": str(path), "num_threads": threads or os.cpu_count()}
        self._lock = threading.Lock()

    @cached_property
    def _signature_runner(self) -> "SignatureRunner":
        interpreter = self._make_interpreter()
        with quiet():
            interpreter.allocate_tensors()
        return interpreter.get_signature_runner()

    def _make_interpreter(self) -> "Interpreter":
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(**self._arguments)

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        with self._lock:
            return {name: output.copy() for name, output in self._signature_runner(**batch).items()}


class TFLiteTextRuntime(TFLiteRuntime):
    """A TFLite file that reads texts and contains its tokenizer."""

    packages = (*TFLiteRuntime.packages, "tensorflow_text.core.pybinds.tflite_registrar")
    max_batch_size = 1

    def _make_interpreter(self) -> "Interpreter":
        from ai_edge_litert.interpreter import InterpreterWithCustomOps
        from tensorflow_text.core.pybinds import tflite_registrar  # pyright: ignore[reportAttributeAccessIssue]

        return InterpreterWithCustomOps(custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS, **self._arguments)

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        (texts,) = batch.values()
        # NumPy keeps texts as str, TensorFlow as bytes.
        encoded = [text if isinstance(text, bytes) else text.encode() for text in texts.tolist()]
        return super().__call__({"text": np.array(encoded, object)}, signature)
