"""Prepared rows are the rows that a training run reads from their files."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.cli.main import group
from tfhub_ft.data import token_cache
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.prepared import Prepared
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.training import prepare as prepare_module
from tfhub_ft.training.prepare import prepare
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of

PREPARED_ROWS_PAGE = Path(__file__).parents[3] / "docs" / "guide" / "prepared-rows.md"


@pytest.fixture(scope="module")
def settings(tiny_pair, reviews_csv):
    """The settings of `tiny_run` that rows and tokens depend on."""
    return {"data": str(reviews_csv), "encoder": str(tiny_pair), "seq_length": TINY_SETTINGS["seq_length"]}


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory):
    """The prepared rows of `tiny_run`; do not change them."""
    folder = tmp_path_factory.mktemp("prepared") / "reviews"
    prepare("sentiment", output_dir=folder, shards=3, **settings)
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def shards_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tfrecord"))}


def test_run_finds_prepared_rows_after_both_have_moved(copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("sentiment")
    settings = recipe.settings.replaced({"prepared": "copied"})
    data = load_dataset(recipe.task, settings, recipe.demo)
    Run.create(Path("run"), "sentiment", settings, data.labels, data.described(Path("run")))
    expected = {name: list(split.rows) for name, split in data.splits.items()}
    (tmp_path / "moved").mkdir()
    for name in ("copied", "run"):
        shutil.move(name, tmp_path / "moved" / name)
    found = Run(tmp_path / "moved" / "run").load_rows()
    assert {name: list(split.rows) for name, split in found.splits.items()} == expected
    assert found.prepared.path == tmp_path / "moved" / "copied"
    index = json.loads((found.prepared.path / "prepared.json").read_text())
    shard = next(iter(index["splits"]["train"]["shards"].values()))
    shard["sha256"] = "0" * 64
    (found.prepared.path / "prepared.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"not found: copied is missing and .*moved/copied has changed$"):
        Run(tmp_path / "moved" / "run").load_rows()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multilabel", "ner", "qa", "similarity", "retrieval", "adapt"])
def test_prepare_keeps_rows_labels_targets_and_tokens(name, tiny_pair, tmp_path):
    recipe = load_recipe(name)
    settings = recipe.settings.replaced({"encoder": str(tiny_pair), "seq_length": 40})
    prepare(name, output_dir=tmp_path / "prepared", encoder=tiny_pair, seq_length=40, shards=2)
    task, direct = recipe.task, load_dataset(recipe.task, settings, recipe.demo)
    again = load_dataset(task, settings.replaced({"prepared": str(tmp_path / "prepared")}), recipe.demo)
    assert again.labels == direct.labels
    assert again.matches(json.loads(json.dumps(direct.described())))
    preprocessor = recipe.build(settings, direct.labels).get_layer("preprocessor")
    for split, read in direct.splits.items():
        assert list(again.splits[split].rows) == list(read.rows)
        for one, other in zip(again.targets[split], direct.targets[split], strict=True):
            np.testing.assert_array_equal(one, other)
        inputs = Mapped(task.training_inputs, read.rows)
        tokens, expected = again.prepared.tokens(split, preprocessor, inputs), task.encode(preprocessor, inputs)
        assert type(tokens) is type(expected)
        for field in dataclasses.fields(expected):
            one, other = getattr(tokens, field.name), getattr(expected, field.name)
            if field.name != "inputs":
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype


def test_prepare_command_prints_the_shards(settings, folder, tmp_path):
    options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    output_dir = tmp_path / "output_dir"
    words = ["prepare", "sentiment", *options, "--output-dir", str(output_dir), "--shards", "3", "--workers", "1"]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 0, done.output
    assert f"{output_dir}: 112 train rows in 3, 24 validation rows in 1, 24 test rows in 1 shards" in done.output
    assert f"tfhub-ft train sentiment --prepared {output_dir}" in done.output
    assert sorted(path.name for path in output_dir.iterdir()) == [
        "prepared.json", "test-00000-of-00001.tfrecord", *(f"train-0000{n}-of-00003.tfrecord" for n in range(3)),
        "validation-00000-of-00001.tfrecord",
    ]  # fmt: skip
    assert shards_of(output_dir) == shards_of(folder)
    index = json.loads((output_dir / "prepared.json").read_text())
    assert (index["recipe"], index["labels"], index["columns"]) == (
        "sentiment",
        ["negative", "positive"],
        ["text", "label"],
    )
    assert index["settings"]["seq_length"] == 24


def test_prepare_continues_with_the_missing_shards(settings, folder, tmp_path, monkeypatch):
    written = []

    def stopped(path):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        return sha256_of(path)

    # Left by a process that was killed while it wrote.
    (tmp_path / ".12345678.prepared.json").write_text("{")
    monkeypatch.setattr(prepare_module, "sha256_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare("sentiment", output_dir=tmp_path, shards=3, **settings)
    monkeypatch.undo()
    (tmp_path / written[-1]).unlink()
    (tmp_path / f".12345678.{written[-1].name}").write_bytes(b"torn")
    before = {path: path.stat().st_mtime_ns for path in written[:2]}
    with pytest.raises(InputError, match="not finished; run the same tfhub-ft prepare again"):
        tfhub_ft.train("sentiment", prepared=tmp_path)
    prepare("sentiment", output_dir=tmp_path, shards=3, **settings)
    assert {path: path.stat().st_mtime_ns for path in written[:2]} == before
    assert shards_of(tmp_path) == shards_of(folder)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_length": 23}, r"\(--seq-length\)"),
        ({"seed": 1}, r"\(--seed\)"),
        ({"shards": 2}, r"\(--shards\)"),
        ({"data": "others.csv"}, r"\(rows\)"),
    ],
)
def test_prepare_refuses_a_folder_with_other_values(settings, copied, monkeypatch, changes, message):
    monkeypatch.chdir(copied.parent)
    write_csv(Path("others.csv"), make_reviews(160, seed=1))
    before = shards_of(copied)
    with pytest.raises(
        InputError, match=rf"--output-dir .*copied: was prepared with other values {message}; choose another folder"
    ):
        prepare("sentiment", output_dir=copied, **{**settings, "shards": 3, **changes})
    assert shards_of(copied) == before


def test_prepare_refuses_dialogues(tmp_path):
    with pytest.raises(InputError, match="prepare: not available for recipe dialogue"):
        prepare("dialogue", output_dir=tmp_path / "output_dir")
    assert not list(tmp_path.iterdir())


def test_prepare_refuses_other_folders(settings, tiny_run, reviews_csv):
    with pytest.raises(InputError, match="not empty, and without prepared rows"):
        prepare("sentiment", output_dir=tiny_run, **settings)
    with pytest.raises(InputError, match="is a file"):
        prepare("sentiment", output_dir=reviews_csv, **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "topic"}, "has rows of the recipe sentiment, not topic"),
        ({"seq_length": 23}, "--seq-length 23: the rows in .* were prepared with 24; leave it out"),
        ({"text_column": "body"}, "--text-column body: .* were prepared with None"),
        ({"weight_column": "votes"}, "--weight-column votes: .* were prepared with None"),
        ({"data": "reviews.csv"}, "pass either that folder or files"),
        ({"prepared": "none"}, r"none: prepared\.json not found; pass a folder written by tfhub-ft prepare"),
    ],
)
def test_train_refuses_settings_that_do_not_fit_prepared_rows(folder, tmp_path, changes, message):
    arguments = {"recipe": "sentiment", "prepared": folder, "output_dir": tmp_path / "run", **changes}
    with pytest.raises(InputError, match=message):
        tfhub_ft.train(arguments.pop("recipe"), **arguments)
    assert not list(tmp_path.iterdir())


def test_train_refuses_prepared_tokens_of_other_vocabularies(folder, tiny_pair, tmp_path):
    other = Path(shutil.copytree(tiny_pair, tmp_path / "other"))
    (vocabulary,) = (other / "preprocessor").rglob("vocab.txt")
    *words, one, last = vocabulary.read_text().split("\n")[:-1]
    vocabulary.write_text("\n".join([*words, last, one]) + "\n")
    with pytest.raises(
        InputError, match="its tokens are of another preprocessor than that of .*other; it was prepared"
    ):
        tfhub_ft.train("sentiment", prepared=folder, encoder=other, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_prepare_replaces_damaged_shards(settings, folder, copied, tmp_path, state):
    shard = copied / "train-00001-of-00003.tfrecord"
    content = shard.read_bytes()
    shard.unlink()
    if state == "damaged":
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"{shard}: {state}; copy it again, or run the same tfhub-ft prepare again"):
        tfhub_ft.train("sentiment", prepared=copied, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    prepare("sentiment", output_dir=copied, shards=3, **settings)
    assert shards_of(copied) == shards_of(folder)


def test_prepared_caches_tokens_of_many_rows(settings, folder, tmp_path, monkeypatch, capsys):
    preprocessor = HubPreprocessor(settings["encoder"], seq_length=24)
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path))
    monkeypatch.setattr(token_cache, "CACHED_FROM", 100)
    prepared = Prepared(folder)
    one, other = (prepared.tokens("train", preprocessor, []) for _ in range(2))
    assert "The tokens of 112 rows are in the cache" in capsys.readouterr().err
    np.testing.assert_array_equal(one.word_ids, other.word_ids)


def test_shards_of_windows_are_ragged_rows_for_tensorflow(tiny_pair, tmp_path):
    import tensorflow as tf

    prepared = prepare("ner", output_dir=tmp_path, encoder=tiny_pair, seq_length=16)
    partitions = [tf.io.RaggedFeature.RowLengths("window_lengths")]
    names = ("input_word_ids", "target")
    features = {name: tf.io.RaggedFeature(tf.int64, name, partitions) for name in names}
    (file,) = prepared.splits["train"]["shards"]
    records = tf.data.TFRecordDataset(str(tmp_path / file)).batch(8)
    read = next(iter(records.map(lambda record: tf.io.parse_example(record, features))))
    assert read["target"].shape == (8, None, None)
    assert read["input_word_ids"].nested_row_lengths()[1].numpy().max() <= 16


def test_pipeline_in_docs_reads_the_shards(folder, monkeypatch):
    (block,) = re.findall(
        r"^```python\n(import tensorflow.*?)^```", PREPARED_ROWS_PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    monkeypatch.chdir(folder.parent)
    names = {}
    exec(block.replace("prepared/reviews", folder.name), names)
    rows = sum(len(target) for _, target in names["batches"])
    assert rows == 112
