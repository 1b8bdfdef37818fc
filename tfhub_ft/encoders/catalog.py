"""The text encoders of TensorFlow Hub, each with its preprocessor."""

import difflib
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfhub_ft.utils.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """An encoder's name, handles, architecture and license."""

    name: str
    family: str
    # Both are empty for the default encoder, which comes from PyPI.
    handle: str
    preprocessor: str
    layers: int
    hidden_size: int
    heads: int
    # In millions, without language-model heads.
    parameters: float
    cased: bool = False
    # A language code, or a description and the number of languages.
    language: str = "en"
    # The SPDX identifier. A TensorFlow Hub page without a license means Apache-2.0.
    license: str = "Apache-2.0"
    # The paper or the model page.
    source: str
    # The number of position embeddings.
    max_seq_length: int = 512


_TFHUB = "https://tfhub.dev/"

_UNCASED = "tensorflow/bert_en_uncased_preprocess/3"


def _entry(
    name: str,
    path: str,
    layers: int,
    hidden_size: int,
    heads: int,
    parameters: float,
    *,
    preprocessor: str = _UNCASED,
    **fields: Any,
) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        handle=_TFHUB + path,
        preprocessor=_TFHUB + preprocessor,
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        parameters=parameters,
        **fields,
    )


_BERT = partial(_entry, family="bert", source="https://arxiv.org/abs/1810.04805")
_BERT_CASED = partial(_BERT, preprocessor="tensorflow/bert_en_cased_preprocess/3", cased=True)
_MBERT = partial(
    _BERT, preprocessor="tensorflow/bert_multi_cased_preprocess/3", cased=True, language="multilingual (104)"
)
_BERT_ZH = partial(_BERT, preprocessor="tensorflow/bert_zh_preprocess/3", language="zh")
_SMALL = partial(_entry, family="bert", source="https://arxiv.org/abs/1908.08962")
_DISTIL = partial(
    _entry,
    family="distilbert",
    source="https://arxiv.org/abs/1910.01108",
    preprocessor="jeongukjae/distilbert_en_uncased_preprocess/2",
)
_DISTIL_CASED = partial(_DISTIL, preprocessor="jeongukjae/distilbert_en_cased_preprocess/2", cased=True)
_MDISTIL = partial(
    _DISTIL,
    preprocessor="jeongukjae/distilbert_multi_cased_preprocess/2",
    cased=True,
    language="multilingual (104)",
)
_ELECTRA = partial(_entry, family="electra", source="https://openreview.net/forum?id=r1xMH1BtvB")
_ALBERT = partial(
    _entry,
    family="albert",
    source="https://arxiv.org/abs/1909.11942",
    preprocessor="tensorflow/albert_en_preprocess/3",
)
_MOBILE = partial(_entry, family="mobilebert", source="https://arxiv.org/abs/2004.02984")
_EXPERTS = partial(_entry, family="bert", source="https://www.kaggle.com/models/google/experts-bert")
_TALKING = partial(_entry, family="talking-heads", source="https://arxiv.org/abs/2003.02436")
_LABSE = partial(
    _entry,
    family="labse",
    source="https://arxiv.org/abs/2007.01852",
    preprocessor="google/universal-sentence-encoder-cmlm/multilingual-preprocess/2",
    cased=True,
    language="multilingual (109)",
)
_MURIL = partial(
    _entry,
    family="muril",
    source="https://arxiv.org/abs/2103.10730",
    preprocessor="google/MuRIL_preprocess/1",
    cased=True,
    language="17 Indian languages incl. en",
)

# Millions of parameters by the number of layers, for the hidden sizes 128, 256, 512 and 768.
_SMALL_PARAMETERS = {
    2: (4.4, 9.6, 22.5, 38.6),
    4: (4.8, 11.2, 28.8, 52.8),
    6: (5.2, 12.8, 35.1, 67.0),
    8: (5.6, 14.3, 41.4, 81.1),
    10: (6.0, 15.9, 47.7, 95.3),
    12: (6.4, 17.5, 54.0, 109.5),
}
_EXPERT_PATHS = (
    "wiki_books",
    "wiki_books/mnli",
    "wiki_books/qnli",
    "wiki_books/qqp",
    "wiki_books/sst2",
    "wiki_books/squad2",
    "pubmed",
    "pubmed/squad2",
)

# Handles, newest versions and preprocessors as on https://github.com/tensorflow/tfhub.dev/tree/master/assets/docs.
CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="minilm-l6",
        family="bert",
        handle="",
        preprocessor="",
        layers=6,
        hidden_size=384,
        heads=12,
        parameters=22.7,
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
    _BERT("bert-base-uncased", "tensorflow/bert_en_uncased_L-12_H-768_A-12/4", 12, 768, 12, 109.5),
    _BERT_CASED("bert-base-cased", "tensorflow/bert_en_cased_L-12_H-768_A-12/4", 12, 768, 12, 108.3),
    _BERT("bert-large-uncased", "tensorflow/bert_en_uncased_L-24_H-1024_A-16/4", 24, 1024, 16, 335.1),
    _BERT_CASED("bert-large-cased", "tensorflow/bert_en_cased_L-24_H-1024_A-16/4", 24, 1024, 16, 333.6),
    _BERT("bert-large-uncased-wwm", "tensorflow/bert_en_wwm_uncased_L-24_H-1024_A-16/4", 24, 1024, 16, 335.1),
    _BERT_CASED("bert-large-cased-wwm", "tensorflow/bert_en_wwm_cased_L-24_H-1024_A-16/4", 24, 1024, 16, 333.6),
    _MBERT("bert-base-multilingual-cased", "tensorflow/bert_multi_cased_L-12_H-768_A-12/4", 12, 768, 12, 177.9),
    _BERT_ZH("bert-base-chinese", "tensorflow/bert_zh_L-12_H-768_A-12/4", 12, 768, 12, 102.3),
    *(
        _SMALL(
            f"small-bert-l{layers}-h{size}",
            f"tensorflow/small_bert/bert_en_uncased_L-{layers}_H-{size}_A-{size // 64}/2",
            layers,
            size,
            size // 64,
            parameters,
        )
        for layers, row in _SMALL_PARAMETERS.items()
        for size, parameters in zip((128, 256, 512, 768), row, strict=True)
    ),
    _DISTIL("distilbert-base-uncased", "jeongukjae/distilbert_en_uncased_L-6_H-768_A-12/1", 6, 768, 12, 66.4),
    _DISTIL_CASED("distilbert-base-cased", "jeongukjae/distilbert_en_cased_L-6_H-768_A-12/1", 6, 768, 12, 65.2),
    _MDISTIL(
        "distilbert-base-multilingual-cased",
        "jeongukjae/distilbert_multi_cased_L-6_H-768_A-12/1",
        6,
        768,
        12,
        134.7,
    ),
    _ELECTRA("electra-small", "google/electra_small/2", 12, 256, 4, 13.5),
    _ELECTRA("electra-base", "google/electra_base/2", 12, 768, 12, 109.5),
    _ELECTRA("electra-large", "google/electra_large/2", 24, 1024, 16, 335.1),
    _ALBERT("albert-base", "tensorflow/albert_en_base/3", 12, 768, 12, 11.7),
    _ALBERT("albert-large", "tensorflow/albert_en_large/3", 24, 1024, 16, 17.7),
    _ALBERT("albert-xlarge", "tensorflow/albert_en_xlarge/3", 24, 2048, 32, 58.7),
    _ALBERT("albert-xxlarge", "tensorflow/albert_en_xxlarge/3", 12, 4096, 64, 222.6),
    _MOBILE("mobilebert", "tensorflow/mobilebert_en_uncased_L-24_H-128_B-512_A-4_F-4_OPT/1", 24, 512, 4, 24.6),
    *(
        _EXPERTS(f"bert-experts-{re.sub('[_/]', '-', path)}", f"google/experts/bert/{path}/2", 12, 768, 12, 109.5)
        for path in _EXPERT_PATHS
    ),
    _TALKING("talking-heads-base", "tensorflow/talkheads_ggelu_bert_en_base/2", 12, 768, 12, 137.8),
    _TALKING("talking-heads-large", "tensorflow/talkheads_ggelu_bert_en_large/2", 24, 1024, 16, 435.9),
    _LABSE("labse", "google/LaBSE/2", 12, 768, 12, 470.9),
    _MURIL("muril-base", "google/MuRIL/1", 12, 768, 12, 237.6),
    _MURIL("muril-large", "google/MuRIL-Large/1", 24, 1024, 16, 505.9),
)

# tfhub.dev redirects a handle to Kaggle Models: a prefix is replaced, and the rest becomes lower case with hyphens in
# place of underscores and slashes. The first matching prefix counts.
_KAGGLE_PREFIXES = (
    ("tensorflow/small_bert/bert_", "tensorflow/bert/bert-"),
    ("tensorflow/bert_", "tensorflow/bert/"),
    ("tensorflow/albert_", "tensorflow/albert/"),
    ("tensorflow/mobilebert_", "tensorflow/mobilebert/"),
    ("tensorflow/talkheads_ggelu_bert_en_", "tensorflow/talkheads-ggelu-bert-en/"),
    ("jeongukjae/distilbert_", "jeongukjae/distilbert/"),
    ("google/electra_", "google/electra/"),
    ("google/experts/bert/", "google/experts-bert/"),
    ("google/LaBSE", "google/labse/labse"),
    ("google/universal-sentence-encoder-cmlm/", "google/universal-sentence-encoder/cmlm-"),
    ("google/MuRIL_preprocess", "google/muril/preprocess"),
    ("google/MuRIL-Large", "google/muril/large"),
    ("google/MuRIL", "google/muril/muril"),
)

_TFHUB_URL = re.compile(r"https?://tfhub\.dev/(?P<path>[^?#]+?)(?:/\d+)?/?(?:[?#].*)?")
KAGGLE_URL = re.compile(
    r"https?://(?:www\.)?kaggle\.com/models/(?P<model>[^/?#]+/[^/?#]+)"
    r"/(?:frameworks/)?tensorflow2/(?:variations/)?(?P<variation>[^/?#]+)"
    r"(?:/(?:versions/)?(?P<version>\d+))?/?(?:[?#].*)?",
    re.IGNORECASE,
)


def _key(handle: str) -> str:
    """Return what identifies a model whatever the version and the spelling; empty where it is on neither hub."""
    if match := KAGGLE_URL.fullmatch(handle):
        return f"kaggle.com/{match['model']}/{match['variation']}".lower()
    match = _TFHUB_URL.fullmatch(handle)
    return f"tfhub.dev/{match['path']}" if match else ""


def _keys(handle: str) -> tuple[str, str]:
    """Return the keys of a tfhub.dev handle and of its page on Kaggle Models."""
    path = _key(handle).removeprefix("tfhub.dev/")
    prefix, replacement = next(pair for pair in _KAGGLE_PREFIXES if path.startswith(pair[0]))
    return f"tfhub.dev/{path}", f"kaggle.com/{replacement}{re.sub('[_/]', '-', path.removeprefix(prefix)).lower()}"


_BY_NAME = {entry.name: entry for entry in CATALOG}
_BY_KEY = {key: entry for entry in CATALOG if entry.handle for key in _keys(entry.handle)}
_PREPROCESSORS = {key for entry in CATALOG if entry.preprocessor for key in _keys(entry.preprocessor)}


def lookup(name: str) -> CatalogEntry:
    """Return the entry of a name; raise an InputError with similar names where there is none."""
    entry = _BY_NAME.get(name)
    if entry is not None:
        return entry
    similar = difflib.get_close_matches(name.lower(), _BY_NAME, n=3, cutoff=0.3)
    hint = f"; similar names: {', '.join(similar)}" if similar else ""
    raise InputError(f"unknown encoder {name!r}{hint}; `tfhub-ft encoders list` lists all")


def find_handle(handle: str) -> CatalogEntry | None:
    """Return the entry of an encoder's tfhub.dev or Kaggle handle, in any version and spelling."""
    return _BY_KEY.get(_key(handle))


def is_preprocessor(handle: str) -> bool:
    """Return whether a handle is of a preprocessor of the catalog, in any version and spelling."""
    return _key(handle) in _PREPROCESSORS
