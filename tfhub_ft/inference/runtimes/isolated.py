"""Run a model in a process of its own: one that crashes ends that process alone, and what it takes can be measured."""

import importlib
import io
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime
from tfhub_ft.utils.devices import QUIET_AND_ON_CPU
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import write_fault
from tfhub_ft.utils.imports import imported
from tfhub_ft.utils.memory import collect_garbage_rarely, peak_memory
from tfhub_ft.utils.processes import child_environment, module_command

TIMED = 50


@dataclass(frozen=True)
class IsolatedResult:
    """What was measured in a process.

    Args:
        outputs: the outputs of each batch.
        load_seconds: from opening the file to the first prediction, without the import of the runtime.
        peak_memory_bytes: the most memory that the process held, its runtime included.
        row_seconds: of each timed call of one row.
        batch_seconds: of all batches, one after the other, once all is warm.
    """

    outputs: list[Batch]
    load_seconds: float
    peak_memory_bytes: int
    row_seconds: np.ndarray
    batch_seconds: float

    @property
    def latency_ms(self) -> dict[str, float]:
        """{"p50", "p95"} of one row, in milliseconds."""
        p50, p95 = np.percentile(self.row_seconds * 1000, [50, 95]).round(2).tolist()
        return {"p50": p50, "p95": p95}


class IsolatedRuntime(Runtime):
    """A runtime in a process of its own, which starts at once and imports what the runtime needs.

    Args:
        kind: the class of the runtime.

    Example:
        with IsolatedRuntime(SavedModelRuntime) as runtime:
            write_saved_model(...)
            runtime.open(Path("saved_models/reviews/1"))
            runtime({"text": np.array(["a warm, funny film"])})
    """

    def __init__(self, kind: type[Runtime]):
        self.kind, self.path = kind, Path()
        self.outputs_texts, self.outputs_only_logits = kind.outputs_texts, kind.outputs_only_logits
        self.max_batch_size = kind.max_batch_size
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the object lives
        self._pipe, end = Pipe()
        self._lock = threading.Lock()
        with end:
            command = module_command(__name__, f"{kind.__module__}.{kind.__qualname__}", str(end.fileno()))
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                pass_fds=(end.fileno(),),
                env=child_environment(**QUIET_AND_ON_CPU),
            )
        self.close = weakref.finalize(self, _end, self.process, self._pipe, self._messages)

    def __enter__(self) -> "IsolatedRuntime":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self, path: Path, **options: Any) -> "IsolatedRuntime":
        """Name the model; the first call loads it.

        Args:
            path: the file, or the SavedModel's folder.
            options: further arguments of the runtime.

        Raises:
            UntrustedCode: it is a SavedModel that may do more than compute, and --trust is not given.
        """
        self.kind.check(path)
        self.path = path
        self._ask("open", path, options)
        return self

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        """Return the outputs of a batch.

        Raises:
            RunError: the model cannot be run, or the process crashed.
        """
        return self._ask("predict", batch, signature)

    def measure(
        self, batches: Sequence[Batch], rows: Sequence[Batch], *, signature: str = SERVING_DEFAULT, timed: int = TIMED
    ) -> IsolatedResult:
        """Measure a model that was just opened.

        Args:
            batches: batches, which are timed together.
            rows: batches of one row, which are timed one by one.
            signature: the signature to call.
            timed: the number of rows to time at most.

        Raises:
            RunError: the model cannot be run.
        """
        self(rows[0], signature)
        outputs = [self(batch, signature) for batch in batches]
        timing = self._ask("measure", batches, rows[:timed], signature)
        return IsolatedResult(
            outputs=outputs,
            load_seconds=float(timing["load_seconds"]),
            peak_memory_bytes=int(timing["peak_memory_bytes"]),
            row_seconds=timing["row_seconds"],
            batch_seconds=float(timing["batch_seconds"]),
        )

    def _ask(self, function: str, *arguments: Any) -> Batch:
        with self._lock:
            try:
                self._pipe.send((function, arguments))
                # The process may be in the hands of a damaged file: what it sends is never unpickled.
                return _unpacked(self._pipe.recv_bytes())
            except (EOFError, OSError):
                raise self._fault() from None

    def _fault(self) -> RunError:
        code = self.process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        reason = f"killed by signal {-code}" if code < 0 or not lines else lines[-1]
        fault = write_fault(OSError(reason), f"a file in {tempfile.gettempdir()}")
        return fault or RunError(f"{self.path}: cannot be run in an isolated process ({reason})")


def _end(process: subprocess.Popen, pipe: Connection, messages: BinaryIO) -> None:
    pipe.close()
    process.kill()
    process.wait()
    messages.close()


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as bytes that hold no Python objects; texts keep a last byte, so that none ends with a zero."""
    content = io.BytesIO()
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(
        content,
        allow_pickle=False,
        **{name: _marked(array) if array.dtype.kind == "O" else array for name, array in arrays.items()},
    )
    return content.getvalue()


def _marked(texts: np.ndarray) -> np.ndarray:
    return np.array([text + b"." for text in texts.ravel()], bytes).reshape(texts.shape)


def _unpacked(content: bytes) -> Batch:
    with np.load(io.BytesIO(content)) as arrays:
        return {name: _unmarked(array) if array.dtype.kind == "S" else array for name, array in arrays.items()}


def _unmarked(texts: np.ndarray) -> np.ndarray:
    unmarked = np.empty(texts.size, object)
    unmarked[:] = [text[:-1] for text in texts.ravel().tolist()]
    return unmarked.reshape(texts.shape)


class _Server:
    """What the process does for each message."""

    def __init__(self, kind: type[Runtime]):
        self.kind, self.load_seconds = kind, None

    def open(self, path: Path, options: dict[str, Any]) -> Batch:
        self.runtime = self.kind(path, **options)
        return {}

    def predict(self, batch: Batch, signature: str) -> Batch:
        began = time.perf_counter()
        outputs = self.runtime(batch, signature)
        # The first call loads the model.
        self.load_seconds = self.load_seconds or time.perf_counter() - began
        return outputs

    def measure(self, batches: Sequence[Batch], rows: Sequence[Batch], signature: str) -> dict[str, Any]:
        batch_seconds = sum(self._seconds(batch, signature) for batch in batches)
        row_seconds = []
        for row in rows:
            self.runtime(row, signature)
            row_seconds.append(self._seconds(row, signature))
        return {
            "load_seconds": self.load_seconds,
            "batch_seconds": batch_seconds,
            "row_seconds": np.array(row_seconds),
            "peak_memory_bytes": peak_memory(),
        }

    def _seconds(self, batch: Batch, signature: str) -> float:
        began = time.perf_counter()
        self.runtime(batch, signature)
        return time.perf_counter() - began


def _serve(kind: str, descriptor: str) -> None:
    server = _Server(imported(kind))
    for package in server.kind.packages:
        importlib.import_module(package)
    with Connection(int(descriptor)) as pipe, suppress(EOFError):
        while True:
            function, arguments = pipe.recv()
            pipe.send_bytes(_packed(getattr(server, function)(*arguments)))


if __name__ == "__main__":
    collect_garbage_rarely()
    _serve(*sys.argv[1:])
