import pytest

from tfhub_ft.data import prepared
from tfhub_ft.recipe import load_recipe
from tfhub_ft.training.start import given_settings, new_folder, read_settings, start_training
from tfhub_ft.utils.errors import InputError


def test_given_settings_take_chat_of_version_0_1_for_retrieval(tmp_path, monkeypatch):
    recipe, index = load_recipe("retrieval"), {"recipe": "chat", "settings": {"seq_length": 20}}
    (tmp_path / "mine.yaml").write_text("recipe: chat\nepochs: 7\n")
    monkeypatch.setattr(prepared, "read_index", lambda folder: index)
    assert given_settings(recipe, tmp_path / "mine.yaml", {"prepared": "rows"})["epochs"] == 7
    assert given_settings(recipe, None, {"prepared": "rows"})["seq_length"] == 20
    with pytest.raises(InputError, match="has rows of the recipe chat, not spam"):
        given_settings(load_recipe("spam"), None, {"prepared": "rows"})
    with pytest.raises(InputError, match=r"mine\.yaml: has settings of recipe retrieval, not spam"):
        given_settings(load_recipe("spam"), tmp_path / "mine.yaml", {})


def test_new_folder_accepts_leftovers_of_file_managers(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "Thumbs.db").write_bytes(b"")
    assert new_folder(tmp_path) == tmp_path


def test_start_training_chooses_a_new_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    for _ in range(2):
        with start_training("sentiment", None, None, {"epochs": 7}) as start:
            folders.append(str(start.folder))
            start.folder.mkdir(parents=True)
    assert folders == ["runs/sentiment-1", "runs/sentiment-2"]
    assert (start.settings.epochs, start.given, start.run) == (7, {"epochs": 7}, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [("- epochs", "expected one setting per line"), ("epochs: 0", "--epochs 0: must be at least 1")],
)
def test_read_settings_names_the_config_file_of_an_error(tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match=rf"^--config .*mine\.yaml: {message}"):
        read_settings(load_recipe("sentiment"), tmp_path / "mine.yaml", {})
