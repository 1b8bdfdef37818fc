"""A TFLite file that runs in a process of its own, which ends where LiteRT crashes on it."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfhub_ft.utils.devices import QUIET_AND_ON_CPU
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import child_environment, module_command

_SIZE_BYTES = 8


class IsolatedRunner:
    """The same as `signature_runner` returns, but in another process, which lives as long as this object.

    Args:
        file: the TFLite file.
        reads_texts: whether TF Text's operations are needed.
        threads: that compute.

    Raises:
        InputError: LiteRT cannot load the file.
    """

    def __init__(self, file: Path, *, reads_texts: bool = False, threads: int | None = None):
        self._file = file
        questions, to_child = os.pipe()
        from_child, answers = os.pipe()
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the object lives
        arguments = [file, int(reads_texts), threads or os.cpu_count(), questions, answers]
        self._process = subprocess.Popen(
            module_command("tfhub_ft.inference.runtimes.isolated_tflite", *map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            pass_fds=(questions, answers),
            env=child_environment(**QUIET_AND_ON_CPU),
        )
        os.close(questions)
        os.close(answers)
        self._questions, self._answers = os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb")
        weakref.finalize(self, _end, self._process, self._questions, self._answers)
        self._details = json.loads(self._received())

    def get_input_details(self) -> dict[str, Any]:
        """The inputs by name."""
        return self._details["inputs"]

    def get_output_details(self) -> dict[str, Any]:
        """The outputs by name, with their "shape_signature"."""
        return self._details["outputs"]

    def __call__(self, **feed: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs for inputs by name.

        Raises:
            InputError: LiteRT cannot run the file, or crashed.
        """
        # Python objects do not leave the process.
        arrays = {name: array.astype(bytes) if array.dtype == object else array for name, array in feed.items()}
        try:
            _send(self._questions, _packed(arrays))
        except BrokenPipeError:
            raise self._fault() from None
        return _unpacked(self._received())

    def _received(self) -> bytes:
        content = _receive(self._answers)
        if content is None:
            raise self._fault()
        return content

    def _fault(self) -> InputError:
        code = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        reason = f"it was killed by signal {-code}" if code < 0 or not lines else lines[-1]
        return InputError(f"{self._file}: LiteRT cannot run it ({reason}); restore the file, or export its run again")


def _end(process: subprocess.Popen, *pipes: BinaryIO) -> None:
    for pipe in pipes:
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    process.kill()
    process.wait()


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def _send(pipe: BinaryIO, content: bytes) -> None:
    pipe.write(len(content).to_bytes(_SIZE_BYTES, "little") + content)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes | None:
    """The next message; None where the other process has ended."""
    size = pipe.read(_SIZE_BYTES)
    content = pipe.read(int.from_bytes(size, "little"))
    return content if len(size) == _SIZE_BYTES and len(content) == int.from_bytes(size, "little") else None


def _serve(file: str, reads_texts: str, threads: str, questions: str, answers: str) -> None:
    from tfhub_ft.inference.runtimes.tflite import signature_runner

    runner = signature_runner(Path(file), reads_texts=reads_texts == "1", threads=int(threads))
    outputs = {name: each["shape_signature"].tolist() for name, each in runner.get_output_details().items()}
    details = {
        "inputs": dict.fromkeys(runner.get_input_details()),
        "outputs": {name: {"shape_signature": shape} for name, shape in outputs.items()},
    }
    with open(int(questions), "rb") as pipe, open(int(answers), "wb") as back:
        _send(back, json.dumps(details).encode())
        while content := _receive(pipe):
            feed = {k: v.astype(object) if v.dtype.kind == "S" else v for k, v in _unpacked(content).items()}
            _send(back, _packed(runner(**feed)))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
