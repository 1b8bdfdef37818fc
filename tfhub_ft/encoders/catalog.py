"""The text encoders of TensorFlow Hub that people use, each with its matching preprocessor.

The handles, their newest versions and their preprocessors are those of the model pages in
https://github.com/tensorflow/tfhub.dev/tree/master/assets/docs.

The parameter counts are computed from each architecture: the embeddings (with their layer norm and, in ELECTRA small,
ALBERT and MobileBERT, their projection), the Transformer blocks, and the dense pooler where the encoder has one
(DistilBERT and MobileBERT have none). The language-model heads are left out, so a count is a little lower than one that
includes them. The vocabulary sizes are 30,522 (English, uncased), 28,996 (English, cased), 119,547 (multilingual),
21,128 (Chinese), 30,000 (ALBERT), 501,153 (LaBSE) and 197,285 (MuRIL).

Importing this module loads only the standard library.
"""

import difflib
import re
from dataclasses import dataclass
from typing import NamedTuple


class UnknownEncoder(LookupError):
    """No encoder of the catalogue has the name that was asked for."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One encoder and what there is to know before it is downloaded.

    Attributes:
        name: the short name to ask for it by, in lower case with hyphens.
        family: the architecture: bert, distilbert, electra, albert, mobilebert, talking-heads, labse or muril.
        handle: its TensorFlow Hub handle with the version; empty for the encoder that is embedded in the package.
        preprocessor: the handle, with the version, of the preprocessor that makes its inputs; empty if embedded.
        layers: the number of Transformer blocks.
        hidden_size: the width of `pooled_output` and `sequence_output`.
        heads: the attention heads of each block.
        parameters: the number of weights, in millions.
        cased: whether the vocabulary keeps upper and lower case apart.
        language: what it was trained on: a language code, or a word and the number of languages.
        licence: the SPDX identifier of the licence. A TensorFlow Hub page that states none means Apache-2.0.
        source: the address of the paper or of the model page.
        max_seq_length: the longest input in tokens, which is the number of position embeddings.

    Example:
        entry = lookup("small-bert-l4-h512")
        print(entry.handle, entry.preprocessor, entry.parameters)
    """

    name: str
    family: str
    handle: str
    preprocessor: str
    layers: int
    hidden_size: int
    heads: int
    parameters: float
    cased: bool
    language: str
    licence: str
    source: str
    max_seq_length: int


class _Group(NamedTuple):
    """What the encoders of one release have in common."""

    family: str
    preprocessor: str
    cased: bool
    language: str
    source: str


_TFHUB = "https://tfhub.dev/"

_UNCASED = "tensorflow/bert_en_uncased_preprocess/3"
_CASED = "tensorflow/bert_en_cased_preprocess/3"
_BERT_PAPER = "https://arxiv.org/abs/1810.04805"
_DISTILBERT_PAPER = "https://arxiv.org/abs/1910.01108"

_BERT = _Group("bert", _UNCASED, False, "en", _BERT_PAPER)
_BERT_CASED = _Group("bert", _CASED, True, "en", _BERT_PAPER)
_MBERT = _Group("bert", "tensorflow/bert_multi_cased_preprocess/3", True, "multilingual (104)", _BERT_PAPER)
_BERT_ZH = _Group("bert", "tensorflow/bert_zh_preprocess/3", False, "zh", _BERT_PAPER)
_SMALL = _Group("bert", _UNCASED, False, "en", "https://arxiv.org/abs/1908.08962")
_DISTIL = _Group("distilbert", "jeongukjae/distilbert_en_uncased_preprocess/2", False, "en", _DISTILBERT_PAPER)
_DISTIL_CASED = _Group("distilbert", "jeongukjae/distilbert_en_cased_preprocess/2", True, "en", _DISTILBERT_PAPER)
_MDISTIL = _Group(
    "distilbert", "jeongukjae/distilbert_multi_cased_preprocess/2", True, "multilingual (104)", _DISTILBERT_PAPER
)
_ELECTRA = _Group("electra", _UNCASED, False, "en", "https://openreview.net/forum?id=r1xMH1BtvB")
_ALBERT = _Group("albert", "tensorflow/albert_en_preprocess/3", False, "en", "https://arxiv.org/abs/1909.11942")
_MOBILE = _Group("mobilebert", _UNCASED, False, "en", "https://arxiv.org/abs/2004.02984")
_EXPERTS = _Group("bert", _UNCASED, False, "en", "https://www.kaggle.com/models/google/experts-bert")
_TALKING = _Group("talking-heads", _UNCASED, False, "en", "https://arxiv.org/abs/2003.02436")
_LABSE = _Group(
    "labse",
    "google/universal-sentence-encoder-cmlm/multilingual-preprocess/2",
    True,
    "multilingual (109)",
    "https://arxiv.org/abs/2007.01852",
)
_MURIL = _Group(
    "muril", "google/MuRIL_preprocess/1", True, "17 Indian languages incl. en", "https://arxiv.org/abs/2103.10730"
)


def _row(
    name: str, path: str, layers: int, hidden_size: int, heads: int, parameters: float, group: _Group
) -> CatalogueEntry:
    """Make the entry of one row; every encoder on TensorFlow Hub here is Apache-2.0 and has 512 positions."""
    return CatalogueEntry(
        name=name,
        family=group.family,
        handle=_TFHUB + path,
        preprocessor=_TFHUB + group.preprocessor,
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        parameters=parameters,
        cased=group.cased,
        language=group.language,
        licence="Apache-2.0",
        source=group.source,
        max_seq_length=512,
    )


CATALOG: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name="minilm-l6",
        family="bert",
        handle="",
        preprocessor="",
        layers=6,
        hidden_size=384,
        heads=12,
        parameters=22.7,
        cased=False,
        language="en",
        licence="Apache-2.0",
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        max_seq_length=512,
    ),
    _row("bert-base-uncased", "tensorflow/bert_en_uncased_L-12_H-768_A-12/4", 12, 768, 12, 109.5, _BERT),
    _row("bert-base-cased", "tensorflow/bert_en_cased_L-12_H-768_A-12/4", 12, 768, 12, 108.3, _BERT_CASED),
    _row("bert-large-uncased", "tensorflow/bert_en_uncased_L-24_H-1024_A-16/4", 24, 1024, 16, 335.1, _BERT),
    _row("bert-large-cased", "tensorflow/bert_en_cased_L-24_H-1024_A-16/4", 24, 1024, 16, 333.6, _BERT_CASED),
    _row("bert-large-uncased-wwm", "tensorflow/bert_en_wwm_uncased_L-24_H-1024_A-16/4", 24, 1024, 16, 335.1, _BERT),
    _row("bert-large-cased-wwm", "tensorflow/bert_en_wwm_cased_L-24_H-1024_A-16/4", 24, 1024, 16, 333.6, _BERT_CASED),
    _row("bert-base-multilingual-cased", "tensorflow/bert_multi_cased_L-12_H-768_A-12/4", 12, 768, 12, 177.9, _MBERT),
    _row("bert-base-chinese", "tensorflow/bert_zh_L-12_H-768_A-12/4", 12, 768, 12, 102.3, _BERT_ZH),
    _row("small-bert-l2-h128", "tensorflow/small_bert/bert_en_uncased_L-2_H-128_A-2/2", 2, 128, 2, 4.4, _SMALL),
    _row("small-bert-l2-h256", "tensorflow/small_bert/bert_en_uncased_L-2_H-256_A-4/2", 2, 256, 4, 9.6, _SMALL),
    _row("small-bert-l2-h512", "tensorflow/small_bert/bert_en_uncased_L-2_H-512_A-8/2", 2, 512, 8, 22.5, _SMALL),
    _row("small-bert-l2-h768", "tensorflow/small_bert/bert_en_uncased_L-2_H-768_A-12/2", 2, 768, 12, 38.6, _SMALL),
    _row("small-bert-l4-h128", "tensorflow/small_bert/bert_en_uncased_L-4_H-128_A-2/2", 4, 128, 2, 4.8, _SMALL),
    _row("small-bert-l4-h256", "tensorflow/small_bert/bert_en_uncased_L-4_H-256_A-4/2", 4, 256, 4, 11.2, _SMALL),
    _row("small-bert-l4-h512", "tensorflow/small_bert/bert_en_uncased_L-4_H-512_A-8/2", 4, 512, 8, 28.8, _SMALL),
    _row("small-bert-l4-h768", "tensorflow/small_bert/bert_en_uncased_L-4_H-768_A-12/2", 4, 768, 12, 52.8, _SMALL),
    _row("small-bert-l6-h128", "tensorflow/small_bert/bert_en_uncased_L-6_H-128_A-2/2", 6, 128, 2, 5.2, _SMALL),
    _row("small-bert-l6-h256", "tensorflow/small_bert/bert_en_uncased_L-6_H-256_A-4/2", 6, 256, 4, 12.8, _SMALL),
    _row("small-bert-l6-h512", "tensorflow/small_bert/bert_en_uncased_L-6_H-512_A-8/2", 6, 512, 8, 35.1, _SMALL),
    _row("small-bert-l6-h768", "tensorflow/small_bert/bert_en_uncased_L-6_H-768_A-12/2", 6, 768, 12, 67.0, _SMALL),
    _row("small-bert-l8-h128", "tensorflow/small_bert/bert_en_uncased_L-8_H-128_A-2/2", 8, 128, 2, 5.6, _SMALL),
    _row("small-bert-l8-h256", "tensorflow/small_bert/bert_en_uncased_L-8_H-256_A-4/2", 8, 256, 4, 14.3, _SMALL),
    _row("small-bert-l8-h512", "tensorflow/small_bert/bert_en_uncased_L-8_H-512_A-8/2", 8, 512, 8, 41.4, _SMALL),
    _row("small-bert-l8-h768", "tensorflow/small_bert/bert_en_uncased_L-8_H-768_A-12/2", 8, 768, 12, 81.1, _SMALL),
    _row("small-bert-l10-h128", "tensorflow/small_bert/bert_en_uncased_L-10_H-128_A-2/2", 10, 128, 2, 6.0, _SMALL),
    _row("small-bert-l10-h256", "tensorflow/small_bert/bert_en_uncased_L-10_H-256_A-4/2", 10, 256, 4, 15.9, _SMALL),
    _row("small-bert-l10-h512", "tensorflow/small_bert/bert_en_uncased_L-10_H-512_A-8/2", 10, 512, 8, 47.7, _SMALL),
    _row("small-bert-l10-h768", "tensorflow/small_bert/bert_en_uncased_L-10_H-768_A-12/2", 10, 768, 12, 95.3, _SMALL),
    _row("small-bert-l12-h128", "tensorflow/small_bert/bert_en_uncased_L-12_H-128_A-2/2", 12, 128, 2, 6.4, _SMALL),
    _row("small-bert-l12-h256", "tensorflow/small_bert/bert_en_uncased_L-12_H-256_A-4/2", 12, 256, 4, 17.5, _SMALL),
    _row("small-bert-l12-h512", "tensorflow/small_bert/bert_en_uncased_L-12_H-512_A-8/2", 12, 512, 8, 54.0, _SMALL),
    _row("small-bert-l12-h768", "tensorflow/small_bert/bert_en_uncased_L-12_H-768_A-12/2", 12, 768, 12, 109.5, _SMALL),
    _row("distilbert-base-uncased", "jeongukjae/distilbert_en_uncased_L-6_H-768_A-12/1", 6, 768, 12, 66.4, _DISTIL),
    _row("distilbert-base-cased", "jeongukjae/distilbert_en_cased_L-6_H-768_A-12/1", 6, 768, 12, 65.2, _DISTIL_CASED),
    _row(
        "distilbert-base-multilingual-cased",
        "jeongukjae/distilbert_multi_cased_L-6_H-768_A-12/1",
        6,
        768,
        12,
        134.7,
        _MDISTIL,
    ),
    _row("electra-small", "google/electra_small/2", 12, 256, 4, 13.5, _ELECTRA),
    _row("electra-base", "google/electra_base/2", 12, 768, 12, 109.5, _ELECTRA),
    _row("electra-large", "google/electra_large/2", 24, 1024, 16, 335.1, _ELECTRA),
    _row("albert-base", "tensorflow/albert_en_base/3", 12, 768, 12, 11.7, _ALBERT),
    _row("albert-large", "tensorflow/albert_en_large/3", 24, 1024, 16, 17.7, _ALBERT),
    _row("albert-xlarge", "tensorflow/albert_en_xlarge/3", 24, 2048, 32, 58.7, _ALBERT),
    _row("albert-xxlarge", "tensorflow/albert_en_xxlarge/3", 12, 4096, 64, 222.6, _ALBERT),
    _row("mobilebert", "tensorflow/mobilebert_en_uncased_L-24_H-128_B-512_A-4_F-4_OPT/1", 24, 512, 4, 24.6, _MOBILE),
    _row("bert-experts-wiki-books", "google/experts/bert/wiki_books/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-wiki-books-mnli", "google/experts/bert/wiki_books/mnli/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-wiki-books-qnli", "google/experts/bert/wiki_books/qnli/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-wiki-books-qqp", "google/experts/bert/wiki_books/qqp/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-wiki-books-sst2", "google/experts/bert/wiki_books/sst2/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-wiki-books-squad2", "google/experts/bert/wiki_books/squad2/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-pubmed", "google/experts/bert/pubmed/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("bert-experts-pubmed-squad2", "google/experts/bert/pubmed/squad2/2", 12, 768, 12, 109.5, _EXPERTS),
    _row("talking-heads-base", "tensorflow/talkheads_ggelu_bert_en_base/2", 12, 768, 12, 137.8, _TALKING),
    _row("talking-heads-large", "tensorflow/talkheads_ggelu_bert_en_large/2", 24, 1024, 16, 435.9, _TALKING),
    _row("labse", "google/LaBSE/2", 12, 768, 12, 470.9, _LABSE),
    _row("muril-base", "google/MuRIL/1", 12, 768, 12, 237.6, _MURIL),
    _row("muril-large", "google/MuRIL-Large/1", 24, 1024, 16, 505.9, _MURIL),
)

# Where tfhub.dev redirects a handle to on Kaggle Models: the start of the path is exchanged as given here, and the rest
# is written in lower case with hyphens for underscores and slashes. The first start that fits counts.
_KAGGLE_STARTS = (
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
_KAGGLE_URL = re.compile(
    r"https?://(?:www\.)?kaggle\.com/models/(?P<model>[^/?#]+/[^/?#]+)"
    r"/(?:frameworks/)?tensorflow2/(?:variations/)?(?P<variation>[^/?#]+)"
    r"(?:/(?:versions/)?\d+)?/?(?:[?#].*)?",
    re.IGNORECASE,
)


def _kaggle_path(path: str) -> str:
    """Return the owner, model and variation on Kaggle Models of a path on tfhub.dev."""
    for start, kaggle_start in _KAGGLE_STARTS:
        if path.startswith(start):
            return kaggle_start + re.sub("[_/]", "-", path.removeprefix(start)).lower()
    raise ValueError(f"no Kaggle path is known for {path}")


def _tfhub_path(handle: str) -> str:
    """The path of a tfhub.dev handle without its version; empty for any other text."""
    match = _TFHUB_URL.fullmatch(handle)
    return match["path"] if match else ""


_BY_NAME = {entry.name: entry for entry in CATALOG}
_BY_TFHUB_PATH = {_tfhub_path(entry.handle): entry for entry in CATALOG if entry.handle}
_BY_KAGGLE_PATH = {_kaggle_path(path): entry for path, entry in _BY_TFHUB_PATH.items()}
_PREPROCESSORS = {_tfhub_path(entry.preprocessor) for entry in CATALOG if entry.preprocessor}
_KAGGLE_PREPROCESSORS = {_kaggle_path(path) for path in _PREPROCESSORS}


def lookup(name: str) -> CatalogueEntry:
    """Find the encoder of a name.

    Args:
        name: the short name, as in `CatalogueEntry.name`.

    Returns:
        The entry of that name.

    Raises:
        UnknownEncoder: no entry has that name; the message gives the nearest names.

    Example:
        entry = lookup("electra-small")
        assert entry.hidden_size == 256
    """
    entry = _BY_NAME.get(name)
    if entry is not None:
        return entry
    nearest = difflib.get_close_matches(name.lower(), _BY_NAME, n=3, cutoff=0.3)
    hint = f"; the nearest names are {', '.join(nearest)}" if nearest else ""
    raise UnknownEncoder(f"no encoder is named {name!r}{hint}; `tfhub-ft encoders list` shows all")


def find_handle(handle: str) -> CatalogueEntry | None:
    """Find the encoder of a handle, whatever version the handle asks for.

    A version number, a trailing slash and a query are left out of the comparison. An encoder is also found by the
    address on Kaggle Models that tfhub.dev redirects its handle to, in the long form
    (`.../frameworks/tensorFlow2/variations/...`) and the short one (`.../tensorFlow2/...`).

    Args:
        handle: a tfhub.dev handle or a Kaggle Models address.

    Returns:
        The entry, or None where the handle is not one of the catalogue's encoders. The embedded encoder has no handle
        and is never returned.

    Example:
        entry = find_handle("https://tfhub.dev/google/electra_small/1")
        assert entry is not None and entry.name == "electra-small"
    """
    match = _KAGGLE_URL.fullmatch(handle)
    if match:
        return _BY_KAGGLE_PATH.get(f"{match['model']}/{match['variation']}".lower())
    return _BY_TFHUB_PATH.get(_tfhub_path(handle))


def is_preprocessor(handle: str) -> bool:
    """Return whether a handle is of a preprocessor of the catalog, in any version and spelling, as for `find_handle`.

    Example:
        assert is_preprocessor("https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3")
    """
    match = _KAGGLE_URL.fullmatch(handle)
    if match:
        return f"{match['model']}/{match['variation']}".lower() in _KAGGLE_PREPROCESSORS
    return _tfhub_path(handle) in _PREPROCESSORS
