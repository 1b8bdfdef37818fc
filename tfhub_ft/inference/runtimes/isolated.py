"""Run a model in an isolated process, which may crash and can be measured."""

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
from typing import BinaryIO

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
    """What was measured in an isolated process.

    Attributes:
        outputs: The outputs of each batch.
        load_seconds: Time from opening the file to the first prediction, without the import of the runtime.
        peak_memory_bytes: Peak memory of the process, including the runtime.
        row_seconds: Time of each call with one row.
        batch_seconds: Time of all batches together, after a first call.
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
    """A runtime in an isolated process, which starts at once and imports what the runtime class needs."""

    def __init__(self, runtime_class: type[Runtime]):
        super().__init__(Path())
        self.runtime_class, self.max_batch_size = runtime_class, runtime_class.max_batch_size
        self.outputs_texts = runtime_class.outputs_texts
        self.outputs_only_logits = runtime_class.outputs_only_logits
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the object lives
        self._pipe, end = Pipe()
        self._lock = threading.Lock()
        with end:
            name = f"{runtime_class.__module__}.{runtime_class.__qualname__}"
            self.process = subprocess.Popen(
                module_command(__name__, name, str(end.fileno())),
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

    def open(self, path: Path) -> "IsolatedRuntime":
        """Set the model that the first call loads."""
        self.runtime_class.check(path)
        self.path = path
        self._request("open", path)
        return self

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        """Return the outputs of a batch; raise a RunError if the model cannot be run or the process crashed."""
        return self._request("predict", batch, signature)

    def measure(
        self, batches: Sequence[Batch], rows: Sequence[Batch], *, signature: str = SERVING_DEFAULT, timed: int = TIMED
    ) -> IsolatedResult:
        """Measure a model that was just opened: time all batches together, and up to `timed` rows one by one."""
        self(rows[0], signature)
        outputs = [self(batch, signature) for batch in batches]
        timing = self._request("measure", batches, rows[:timed], signature)
        return IsolatedResult(
            outputs=outputs,
            load_seconds=float(timing["load_seconds"]),
            peak_memory_bytes=int(timing["peak_memory_bytes"]),
            row_seconds=timing["row_seconds"],
            batch_seconds=float(timing["batch_seconds"]),
        )

    def _request(self, function: str, *arguments: object) -> Batch:
        with self._lock:
            try:
                self._pipe.send((function, arguments))
                # A damaged file may control the process, so nothing from it is unpickled.
                return _unpack(self._pipe.recv_bytes())
            except (EOFError, OSError):
                raise self._crash_error() from None

    def _crash_error(self) -> RunError:
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


def _pack(values: Mapping[str, object]) -> bytes:
    """Return arrays as bytes without Python objects. NumPy drops zeros at the end of texts, so each gets a mark."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "O":
            arrays[name] = np.array([text + b"." for text in array.ravel()], bytes).reshape(array.shape)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _unpack(content: bytes) -> Batch:
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    for name, array in arrays.items():
        if array.dtype.kind == "S":
            arrays[name] = np.empty(array.shape, object)
            arrays[name].flat = [text[:-1] for text in array.ravel().tolist()]
    return arrays


class _Worker:
    """Handles the requests in the isolated process."""

    def __init__(self, runtime_class: type[Runtime]):
        self.runtime_class, self.load_seconds = runtime_class, 0.0

    def open(self, path: Path) -> Batch:
        self.runtime = self.runtime_class(path)
        return {}

    def predict(self, batch: Batch, signature: str) -> Batch:
        start = time.perf_counter()
        outputs = self.runtime(batch, signature)
        # The first call loads the model.
        self.load_seconds = self.load_seconds or time.perf_counter() - start
        return outputs

    def measure(self, batches: Sequence[Batch], rows: Sequence[Batch], signature: str) -> dict[str, object]:
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
        start = time.perf_counter()
        self.runtime(batch, signature)
        return time.perf_counter() - start


def _serve(runtime_class: str, descriptor: str) -> None:
    worker = _Worker(imported(runtime_class))
    for package in worker.runtime_class.packages:
        importlib.import_module(package)
    with Connection(int(descriptor)) as pipe, suppress(EOFError):
        while True:
            function, arguments = pipe.recv()
            pipe.send_bytes(_pack(getattr(worker, function)(*arguments)))


if __name__ == "__main__":
    collect_garbage_rarely()
    _serve(*sys.argv[1:])
