import dataclasses
import re
import subprocess
import sys

import pytest

from tfhub_ft.encoders.catalog import CATALOG, CatalogEntry, find_handle, is_preprocessor, lookup
from tfhub_ft.utils.errors import InputError

HUB = "https://tfhub.dev/"
HANDLE = re.compile(r"https://tfhub\.dev/[A-Za-z0-9]+(?:/[A-Za-z0-9_.-]+)+/[1-9][0-9]*")
ON_HUB = [entry for entry in CATALOG if entry.name != "minilm-l6"]
SMALL = [entry for entry in CATALOG if entry.name.startswith("small-bert-")]


def bert_parameters(vocabulary: int, hidden: int, layers: int, embedding: int | None = None) -> float:
    """Return the millions of weights of a BERT; `embedding` is the size before a projection to `hidden`."""
    width = embedding or hidden
    embeddings = (vocabulary + 512 + 2 + 2) * width + ((width + 1) * hidden if embedding else 0)
    attention = 4 * (hidden + 1) * hidden + 2 * hidden
    feed_forward = (hidden + 1) * 4 * hidden + (4 * hidden + 1) * hidden + 2 * hidden
    return (embeddings + layers * (attention + feed_forward) + (hidden + 1) * hidden) / 1e6


def test_catalog_starts_with_the_default_encoder():
    assert CATALOG[0] == CatalogEntry(
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
        license="Apache-2.0",
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        max_seq_length=512,
    )


def test_catalog_names_and_handles_are_unique():
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    assert len({entry.handle for entry in CATALOG}) == len(CATALOG)


def test_catalog_entries_are_frozen_and_slotted():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOG[0].name = "other"
    assert not hasattr(CATALOG[0], "__dict__")


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_catalog_entries_have_valid_fields(entry):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry.family)
    assert entry.layers > 0
    assert entry.hidden_size % entry.heads == 0
    assert entry.parameters > 0
    assert entry.language
    assert entry.license == "Apache-2.0"
    assert entry.source.startswith("https://")
    assert entry.max_seq_length == 512


@pytest.mark.parametrize("entry", ON_HUB, ids=lambda entry: entry.name)
def test_catalog_handles_are_well_formed(entry):
    assert HANDLE.fullmatch(entry.handle)
    assert HANDLE.fullmatch(entry.preprocessor)
    assert "preprocess" in entry.preprocessor
    assert "preprocess" not in entry.handle


@pytest.mark.parametrize("entry", ON_HUB, ids=lambda entry: entry.name)
def test_catalog_sizes_match_the_handle(entry):
    sizes = re.search(r"_L-(\d+)_H-(\d+)_A-(\d+)/", entry.handle)
    if sizes:
        assert (entry.layers, entry.hidden_size, entry.heads) == tuple(map(int, sizes.groups()))


@pytest.mark.parametrize("entry", ON_HUB, ids=lambda entry: entry.name)
def test_catalog_casing_matches_the_preprocessor(entry):
    for address in (entry.handle, entry.preprocessor):
        if "uncased" in address:
            assert not entry.cased
        elif "cased" in address:
            assert entry.cased


def test_catalog_has_24_small_berts():
    sizes = {(entry.layers, entry.hidden_size) for entry in SMALL}
    assert len(SMALL) == 24
    assert sizes == {(layers, hidden) for layers in (2, 4, 6, 8, 10, 12) for hidden in (128, 256, 512, 768)}


@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.name)
def test_small_berts_are_named_by_size(entry):
    assert entry.name == f"small-bert-l{entry.layers}-h{entry.hidden_size}"
    assert entry.heads == entry.hidden_size // 64
    assert entry.preprocessor == HUB + "tensorflow/bert_en_uncased_preprocess/3"


@pytest.mark.parametrize(
    ("name", "handle", "preprocessor"),
    [
        (
            "bert-base-uncased",
            "tensorflow/bert_en_uncased_L-12_H-768_A-12/4",
            "tensorflow/bert_en_uncased_preprocess/3",
        ),
        ("bert-base-cased", "tensorflow/bert_en_cased_L-12_H-768_A-12/4", "tensorflow/bert_en_cased_preprocess/3"),
        (
            "bert-base-multilingual-cased",
            "tensorflow/bert_multi_cased_L-12_H-768_A-12/4",
            "tensorflow/bert_multi_cased_preprocess/3",
        ),
        ("bert-base-chinese", "tensorflow/bert_zh_L-12_H-768_A-12/4", "tensorflow/bert_zh_preprocess/3"),
        (
            "small-bert-l4-h512",
            "tensorflow/small_bert/bert_en_uncased_L-4_H-512_A-8/2",
            "tensorflow/bert_en_uncased_preprocess/3",
        ),
        (
            "distilbert-base-uncased",
            "jeongukjae/distilbert_en_uncased_L-6_H-768_A-12/1",
            "jeongukjae/distilbert_en_uncased_preprocess/2",
        ),
        ("electra-small", "google/electra_small/2", "tensorflow/bert_en_uncased_preprocess/3"),
        ("albert-base", "tensorflow/albert_en_base/3", "tensorflow/albert_en_preprocess/3"),
        ("bert-experts-pubmed", "google/experts/bert/pubmed/2", "tensorflow/bert_en_uncased_preprocess/3"),
        (
            "talking-heads-base",
            "tensorflow/talkheads_ggelu_bert_en_base/2",
            "tensorflow/bert_en_uncased_preprocess/3",
        ),
        ("labse", "google/LaBSE/2", "google/universal-sentence-encoder-cmlm/multilingual-preprocess/2"),
        ("muril-base", "google/MuRIL/1", "google/MuRIL_preprocess/1"),
    ],
)
def test_lookup_returns_known_handles(name, handle, preprocessor):
    entry = lookup(name)
    assert entry.handle == HUB + handle
    assert entry.preprocessor == HUB + preprocessor


@pytest.mark.parametrize(
    ("name", "vocabulary", "embedding"),
    [
        ("minilm-l6", 30522, None),
        ("bert-base-uncased", 30522, None),
        ("bert-base-cased", 28996, None),
        ("bert-large-uncased", 30522, None),
        ("bert-base-multilingual-cased", 119547, None),
        ("bert-base-chinese", 21128, None),
        ("electra-small", 30522, 128),
        ("electra-large", 30522, None),
        ("labse", 501153, None),
        ("muril-base", 197285, None),
        ("muril-large", 197285, None),
        *((entry.name, 30522, None) for entry in SMALL),
    ],
)
def test_parameter_counts_match_the_architecture(name, vocabulary, embedding):
    entry = lookup(name)
    assert entry.parameters == pytest.approx(
        bert_parameters(vocabulary, entry.hidden_size, entry.layers, embedding), abs=0.051
    )


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_lookup_finds_every_name(entry):
    assert lookup(entry.name) is entry


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("bert-base-uncase", "bert-base-uncased"),
        ("BERT-base-uncased", "bert-base-uncased"),
        ("small-bert-l4-h513", "small-bert-l4-h512"),
        ("elektra-small", "electra-small"),
        ("minilm", "minilm-l6"),
    ],
)
def test_lookup_suggests_similar_names(name, similar):
    with pytest.raises(InputError) as raised:
        lookup(name)
    message = str(raised.value)
    assert repr(name) in message
    assert re.search(rf"{similar}[,;]", message)
    assert "tfhub-ft encoders list" in message


def test_lookup_without_similar_names_names_the_list_command():
    with pytest.raises(InputError, match="unknown encoder ''; `tfhub-ft encoders list` lists all"):
        lookup("")


@pytest.mark.parametrize("entry", ON_HUB, ids=lambda entry: entry.name)
def test_find_handle_ignores_version_slash_and_query(entry):
    path, _, version = entry.handle.rpartition("/")
    for handle in (
        entry.handle,
        entry.handle + "/",
        path,
        path + "/",
        f"{path}/{int(version) + 7}",
        entry.handle + "?tf-hub-format=compressed",
        path.replace("https", "http"),
    ):
        assert find_handle(handle) is entry


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("tensorflow/bert/{}en-uncased-l-12-h-768-a-12", "bert-base-uncased"),
        ("tensorflow/bert/{}en-wwm-uncased-l-24-h-1024-a-16", "bert-large-uncased-wwm"),
        ("tensorflow/bert/{}multi-cased-l-12-h-768-a-12", "bert-base-multilingual-cased"),
        ("tensorflow/bert/{}zh-l-12-h-768-a-12", "bert-base-chinese"),
        ("tensorflow/bert/{}bert-en-uncased-l-12-h-768-a-12", "small-bert-l12-h768"),
        ("tensorflow/bert/{}bert-en-uncased-l-4-h-512-a-8", "small-bert-l4-h512"),
        ("tensorflow/albert/{}en-xxlarge", "albert-xxlarge"),
        ("tensorflow/mobilebert/{}en-uncased-l-24-h-128-b-512-a-4-f-4-opt", "mobilebert"),
        ("tensorflow/talkheads-ggelu-bert-en/{}base", "talking-heads-base"),
        ("google/electra/{}small", "electra-small"),
        ("google/experts-bert/{}wiki-books", "bert-experts-wiki-books"),
        ("google/experts-bert/{}pubmed-squad2", "bert-experts-pubmed-squad2"),
        ("google/labse/{}labse", "labse"),
        ("google/muril/{}muril", "muril-base"),
        ("google/muril/{}large", "muril-large"),
        ("jeongukjae/distilbert/{}multi-cased-l-6-h-768-a-12", "distilbert-base-multilingual-cased"),
    ],
)
def test_find_handle_accepts_kaggle_urls(page, name):
    base = "https://www.kaggle.com/models/"
    long = base + page.format("frameworks/tensorFlow2/variations/")
    short = base + page.format("TensorFlow2/")
    for address in (
        long,
        long + "/versions/4",
        short,
        short + "/",
        short + "/2?tfhub-redirect=true",
        short.replace("www.", ""),
    ):
        assert find_handle(address) is lookup(name)


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "bert-base-uncased",
        "tensorflow/bert_en_uncased_L-12_H-768_A-12/4",
        "saved_models/bert",
        "https://tfhub.dev/",
        "https://tfhub.dev/google/LaBSE-other/2",
        "https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3",
        "https://example.com/google/LaBSE/2",
        "https://www.kaggle.com/models/google/muril/frameworks/tensorFlow2/variations/preprocess/versions/1",
        "https://www.kaggle.com/models/google/bert/frameworks/tensorFlow1/variations/uncased-l-12-h-768-a-12/versions/1",
    ],
)
def test_find_handle_returns_none_for_unknown_handles(handle):
    assert find_handle(handle) is None


@pytest.mark.parametrize(
    "handle",
    [
        "https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/1",
        "https://tfhub.dev/google/universal-sentence-encoder-cmlm/multilingual-preprocess/2",
        "https://www.kaggle.com/models/tensorflow/bert/frameworks/tensorFlow2/variations/en-uncased-preprocess/versions/3",
        "https://kaggle.com/models/tensorflow/bert/TensorFlow2/en-uncased-preprocess/3",
        "https://www.kaggle.com/models/tensorflow/albert/tensorFlow2/en-preprocess/3",
        "https://www.kaggle.com/models/google/muril/tensorFlow2/preprocess/1",
        "https://www.kaggle.com/models/google/universal-sentence-encoder/TensorFlow2/cmlm-multilingual-preprocess/2",
        "https://www.kaggle.com/models/jeongukjae/distilbert/tensorFlow2/en-uncased-preprocess/2",
    ],
)
def test_is_preprocessor_accepts_both_hubs(handle):
    assert is_preprocessor(handle)
    assert find_handle(handle) is None


@pytest.mark.parametrize(
    "handle",
    [
        "bert_en_uncased_preprocess",
        "https://example.com/tensorflow/bert_en_uncased_preprocess/3",
        "https://tfhub.dev/me/bert_en_uncased_preprocess/3",
        "https://www.kaggle.com/models/me/bert/tensorFlow2/en-uncased-preprocess/3",
        "https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4",
    ],
)
def test_is_preprocessor_rejects_other_handles(handle):
    assert not is_preprocessor(handle)


def test_importing_the_catalog_loads_no_framework():
    heavy = ("tensorflow", "keras", "tensorflow_hub")
    code = f"import sys, tfhub_ft.encoders.catalog; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
