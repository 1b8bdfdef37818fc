from tfhub_ft.exports.model_card import without_folder


def test_card_contains_no_absolute_path(tiny_export, tiny_run):
    card = (tiny_export / "README.md").read_text()
    for folder in (tiny_export.parent, tiny_run.parent, tiny_run.parent.parent):
        assert str(folder) not in card
    assert "compared with the Keras model on 136 rows of reviews.csv, without labels." in card


def test_card_shows_no_figure_twice(tiny_export):
    tables = (tiny_export / "README.md").read_text().partition("## Limitations")[0]
    lines = [line for line in tables.splitlines() if line.startswith("| ")]
    names = [line.split("|")[1].strip() for line in lines]
    assert len(set(names)) == len(names)


def test_without_folder_keeps_relative_paths_and_names():
    assert without_folder("/home/someone/rows.csv") == "rows.csv"
    unchanged = ["data/rows.csv", "minilm-l6", "/", 3]
    assert [without_folder(value) for value in unchanged] == unchanged
