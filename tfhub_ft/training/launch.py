"""Run several workers of one training run on one machine."""

import contextlib
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
from types import FrameType
from typing import IO, TextIO

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import child_environment, python_command

# Seconds for workers to save and exit, before they are killed.
GRACE = 60
GPUS = "CUDA_VISIBLE_DEVICES"
PROGRAM = "from tfhub_ft.cli.main import main; main()"


def launch(arguments: Sequence[str], workers: int) -> int:
    """Run a training command in several worker processes on this machine, and return its exit code.

    Each worker gets its share of the GPUs. Its standard error is forwarded with its number in front; of standard
    output, only that of the first worker. SIGTERM and Ctrl-C are forwarded to all workers. When one fails, the others
    are terminated.
    """
    arguments = _check_arguments(arguments)
    addresses = [f"localhost:{port}" for port in _free_ports(workers)]
    processes = [
        _start(arguments, addresses, number, {GPUS: gpus} if gpus else {})
        for number, gpus in enumerate(_gpus_by_worker(workers))
    ]
    readers = [thread for number, process in enumerate(processes) for thread in _forwarded(number, process)]

    def forward_signal(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    handlers = {number: signal.signal(number, forward_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _wait(processes)
    finally:
        _terminate(processes)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for thread in readers:
            thread.join()


def _check_arguments(arguments: Sequence[str]) -> list[str]:
    options = {argument.partition("=")[0] for argument in arguments}
    if not arguments or arguments[0] != "train":
        raise InputError("launch: needs a training command; launch --workers 2 -- train RECIPE --output-dir RUN")
    if not options & {"--output-dir", "--help", "--dry-run"}:
        raise InputError("launch: needs --output-dir, the same for all workers")
    return [*arguments, *([] if "--strategy" in options else ["--strategy", "multi-worker"])]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def _gpus_by_worker(workers: int) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES for each worker; empty on a machine without GPUs."""
    visible, drivers = os.environ.get(GPUS), Path("/proc/driver/nvidia/gpus")
    if visible is not None:
        gpus = [gpu for gpu in visible.split(",") if gpu.strip()]
    else:
        gpus = [str(number) for number, _ in enumerate(drivers.iterdir())] if drivers.is_dir() else []
    if not gpus:
        return [""] * workers
    if len(gpus) < workers:
        raise InputError(f"--workers {workers}: each worker needs a GPU, but there are {len(gpus)}; start fewer")
    return [",".join(gpus[number::workers]) for number in range(workers)]


def _start(arguments: list[str], addresses: list[str], number: int, variables: dict[str, str]) -> subprocess.Popen:
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
    width = str(shutil.get_terminal_size().columns)
    return subprocess.Popen(
        python_command(PROGRAM, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"COLUMNS": width, **child_environment(**variables, TF_CONFIG=json.dumps(config))},
        # Otherwise the Ctrl-C of a terminal reaches the workers twice.
        start_new_session=True,
    )


def _forwarded(number: int, process: subprocess.Popen) -> Iterator[threading.Thread]:
    """Start threads that forward the output of a worker."""
    stdout = sys.stdout if number == 0 else None
    for source, target, prefix in ((process.stdout, stdout, ""), (process.stderr, sys.stderr, f"[{number}] ")):
        thread = threading.Thread(target=_forward, args=(source, target, prefix), daemon=True)
        thread.start()
        yield thread


def _forward(source: IO[bytes], target: TextIO | None, prefix: str) -> None:
    for line in source:
        if target:
            # One write, as other threads write to the same stream; `print` writes the line end by itself.
            target.write(f"{prefix}{line.decode(errors='replace').rstrip(chr(10))}\n")
            target.flush()


def _wait(processes: list[subprocess.Popen]) -> int:
    """Wait until all processes have succeeded, or one has failed, and return its exit code."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((code for code in codes if code), 0)
        if failed or None not in codes:
            return failed if failed >= 0 else 128 - failed
        time.sleep(0.1)


def _terminate(processes: list[subprocess.Popen]) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
