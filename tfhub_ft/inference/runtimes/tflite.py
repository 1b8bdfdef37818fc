"""Run a TFLite file by LiteRT."""

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime
from tfhub_ft.utils.console import quiet


class TFLiteRuntime(Runtime):
    """A TFLite file that reads tokens.

    Args:
        path: the file.
        threads: of LiteRT; by default one for each core.
    """

    packages = ("ai_edge_litert.interpreter",)
    outputs_texts, outputs_only_logits = False, True

    def __init__(self, path: Path, threads: int | None = None):
        super().__init__(path)
        self.threads, self._lock = threads or os.cpu_count(), threading.Lock()

    @cached_property
    def _interpreter(self) -> Any:
        interpreter = self._make_interpreter(model_path=str(self.path), num_threads=self.threads)
        with quiet():
            interpreter.allocate_tensors()
        return interpreter

    @cached_property
    def _signature_runner(self) -> Any:
        return self._interpreter.get_signature_runner()

    def _make_interpreter(self, **arguments: Any) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(**arguments)

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        with self._lock:
            return {name: output.copy() for name, output in self._signature_runner(**batch).items()}


class TFLiteTextRuntime(TFLiteRuntime):
    """A TFLite file that contains its tokenizer and reads texts."""

    packages = (*TFLiteRuntime.packages, "tensorflow_text.core.pybinds.tflite_registrar")
    max_batch_size = 1

    def _make_interpreter(self, **arguments: Any) -> Any:
        from ai_edge_litert.interpreter import InterpreterWithCustomOps
        from tensorflow_text.core.pybinds import tflite_registrar

        return InterpreterWithCustomOps(custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS, **arguments)

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        (texts,) = batch.values()
        # NumPy keeps texts as str, TensorFlow as bytes.
        texts = [text if isinstance(text, bytes) else text.encode() for text in texts.tolist()]
        return super().__call__({"text": np.array(texts, object)}, signature)
