"""Several workers of one training on one machine: started, listened to and ended together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import child_environment, python_command

# Seconds in which workers save and leave, before they are killed.
GRACE = 60
GPUS = "CUDA_VISIBLE_DEVICES"
PROGRAM = "from tfhub_ft.cli.main import main; main()"


def launch(arguments: Sequence[str], workers: int) -> int:
    """Run a training as several worker processes on this machine, until all have ended.

    Each worker has its share of the GPUs; what it says is forwarded to standard error behind its number, and what the
    first one prints to standard output. SIGTERM and Ctrl-C go on to all of them; where one fails, the others are ended.

    Args:
        arguments: of `tfhub-ft`, beginning with "train"; --strategy multi-worker is added where they name none.
        workers: how many.

    Returns:
        The exit code: 0, or that of the first worker that failed.

    Raises:
        InputError: the arguments are no training's, or there are fewer GPUs than workers.

    Example:
        launch(["train", "sentiment", "--output-dir", "runs/two"], workers=2)
    """
    arguments = _checked(arguments)
    addresses = [f"localhost:{port}" for port in _free_ports(workers)]
    shares = _shares_of_gpus(workers)
    started = [
        _start(arguments, addresses, number, {GPUS: share} if share else {}) for number, share in enumerate(shares)
    ]
    readers = [thread for number, process in enumerate(started) for thread in _forwarded(number, process)]
    before = {number: signal.signal(number, _pass_on(started)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = _first_failure(started)
    finally:
        _end(started)
        for number, handler in before.items():
            signal.signal(number, handler)
        for thread in readers:
            thread.join()
    return code


def _checked(arguments: Sequence[str]) -> list[str]:
    named = {argument.partition("=")[0] for argument in arguments}
    if not arguments or arguments[0] != "train":
        raise InputError("launch starts trainings: tfhub-ft launch --workers 2 -- train RECIPE --output-dir RUN ...")
    if not named & {"--output-dir", "--help", "--dry-run"}:
        raise InputError("launch: the training needs --output-dir, the same for all workers")
    return [*arguments, *([] if "--strategy" in named else ["--strategy", "multi-worker"])]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _shares_of_gpus(workers: int) -> list[str]:
    """The GPUs of each worker, as CUDA_VISIBLE_DEVICES names them; nothing where there are none."""
    seen = os.environ.get(GPUS)
    found = [each for each in seen.split(",") if each.strip()] if seen is not None else _gpus_of_machine()
    if not found:
        return [""] * workers
    if len(found) < workers:
        raise InputError(f"--workers {workers}: there are {len(found)} GPUs, and each worker needs one")
    return [",".join(found[number::workers]) for number in range(workers)]


def _gpus_of_machine() -> list[str]:
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number, _ in enumerate(folder.iterdir())] if folder.is_dir() else []


def _start(arguments: list[str], addresses: list[str], number: int, variables: dict[str, str]) -> subprocess.Popen:
    described = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
    width = str(shutil.get_terminal_size().columns)
    return subprocess.Popen(
        python_command(PROGRAM, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"COLUMNS": width, **child_environment(**variables, TF_CONFIG=json.dumps(described))},
        # Signals come from here alone: a terminal's Ctrl-C would reach them twice.
        start_new_session=True,
    )


def _forwarded(number: int, process: subprocess.Popen) -> Iterator[threading.Thread]:
    """Threads that print what a worker says; of what it answers, the first one's is as good as any."""
    out = sys.stdout if number == 0 else None
    for source, target, prefix in ((process.stdout, out, ""), (process.stderr, sys.stderr, f"[{number}] ")):
        thread = threading.Thread(target=_forward, args=(source, target, prefix), daemon=True)
        thread.start()
        yield thread


def _forward(source: IO[bytes], target: Any, prefix: str) -> None:
    for line in source:
        if target:
            # One write, as another thread writes to the same target; print writes the line end apart.
            target.write(f"{prefix}{line.decode(errors='replace').rstrip(chr(10))}\n")
            target.flush()


def _pass_on(started: list[subprocess.Popen]) -> Any:
    def handler(number: int, frame: Any) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    return handler


def _first_failure(started: list[subprocess.Popen]) -> int:
    """Wait until all have ended well, or one has not; its exit code."""
    while True:
        codes = [process.poll() for process in started]
        failed = next((code for code in codes if code), 0)
        if failed or None not in codes:
            return failed if failed >= 0 else 128 - failed
        time.sleep(0.1)


def _end(started: list[subprocess.Popen]) -> None:
    running = [process for process in started if process.poll() is None]
    for process in running:
        process.terminate()
    until = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
