import pytest

from tfhub_ft.encoders.download import archive_at, split_pin
from tfhub_ft.utils.errors import InputError

BERT = "https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4"
KAGGLE = "https://www.kaggle.com/models/me/bert/{}/x/{}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path))
    monkeypatch.delenv("TFHUB_FT_MIRROR", raising=False)


def test_split_pin_separates_the_digest():
    digest = "0a" * 32
    assert split_pin(f"{BERT}#sha256={digest.upper()}") == (BERT, digest)
    assert split_pin(BERT) == (BERT, None)
    with pytest.raises(InputError, match="expected sha256= and 64 hexadecimal digits after #"):
        split_pin(f"{BERT}#sha256=12")


@pytest.mark.parametrize(
    ("url", "handle", "download_url"),
    [
        (BERT, BERT, f"{BERT}?tf-hub-format=compressed"),
        (f"{BERT}/", BERT, f"{BERT}?tf-hub-format=compressed"),
        (
            KAGGLE.format("frameworks/tensorFlow2/variations", "versions/3"),
            KAGGLE.format("tensorFlow2", 3),
            "https://www.kaggle.com/api/v1/models/me/bert/tensorFlow2/x/3/download",
        ),
        ("https://example.com/e.zip", "https://example.com/e.zip", "https://example.com/e.zip"),
    ],
)
def test_archive_at_returns_handle_and_url(url, handle, download_url):
    archive = archive_at(url, ("mine",))
    assert (archive.handle, archive.url) == (handle, download_url)


def test_archive_at_uses_the_mirror(monkeypatch):
    monkeypatch.setenv("TFHUB_FT_MIRROR", "https://mirror.example.com/")
    archive = archive_at(BERT, ())
    assert archive.url == BERT.replace("tfhub.dev", "mirror.example.com") + "?tf-hub-format=compressed"
    assert archive.handle == BERT


def test_archive_at_adds_trust_to_the_command_of_unknown_models():
    assert archive_at(BERT, ("bert",)).pull == ("bert",)
    assert archive_at("https://example.com/e.zip", ("e",)).pull == ("e", "--trust")


def test_archive_folder_depends_on_the_handle(tmp_path):
    folder = archive_at(BERT, ()).folder
    assert folder.parent == tmp_path
    assert folder.name.startswith("tensorflow_bert_en_uncased_L-12_H-768_A-12_4-")
    assert archive_at(BERT.removesuffix("4") + "3", ()).folder != folder
