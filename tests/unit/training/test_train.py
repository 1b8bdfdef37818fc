import shutil

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.encoders.hub_export import write_preprocessor
from tfhub_ft.utils.errors import InputError


def train(tiny_pair, folder, **settings):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **{**TINY_SETTINGS, **settings})


BAD_FILES = {
    "missing.csv": (None, "missing.csv"),
    "empty.csv": ("", "no rows found"),
    "header.csv": ("text,label\n", "no rows found"),
    "column.csv": ("title,label\na,b\n", "--text-column"),
    "one.csv": ("text,label\ngood film,a\nbad film,a\nfood,a\n", "only one label ('a')"),
    "blank.csv": ('text,label\ngood,a\n" ",b\n', "line 3"),
    "bytes.csv": (b"text,label\ngood,a\nb\xffd,b\n", "line 3"),
    "cut.jsonl": ('{"text": "good", "label": "a"}\n{"text": "bad", "la', "line 2"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_train_refuses_bad_rows_before_it_writes(tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        tfhub_ft.train("sentiment", data=path, output_dir=tmp_path / "run", encoder="no/encoder/is/read")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_train_refuses_output_folders_with_files(tiny_run, reviews_csv, tmp_path):
    with pytest.raises(InputError, match="already has a run"):
        tfhub_ft.train("sentiment", data=reviews_csv, output_dir=tiny_run)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        tfhub_ft.train("sentiment", data=reviews_csv, output_dir=tmp_path)
    with pytest.raises(InputError, match="is a file"):
        tfhub_ft.train("sentiment", data=reviews_csv, output_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seq_length": 65}, "reads at most 64 tokens"),
        ({"freeze": "9"}, "has 2 layers"),
        ({"freeze": "half"}, "not one of"),
    ],
)
def test_train_refuses_settings_that_do_not_fit_the_encoder(tiny_pair, reviews_csv, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train(tiny_pair, tmp_path / "run", data=reviews_csv, **settings)
    assert not (tmp_path / "run").exists()


def test_train_refuses_a_folder_without_an_encoder(reviews_csv, tiny_pair, tmp_path):
    shutil.copytree(tiny_pair / "preprocessor", tmp_path / "encoder")
    shutil.copytree(tiny_pair / "preprocessor", tmp_path / "preprocessor")
    with pytest.raises(InputError, match="not a TF Hub text encoder"):
        tfhub_ft.train("sentiment", data=reviews_csv, output_dir=tmp_path / "run", encoder=tmp_path / "encoder")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unfreeze": "0,3", "epochs": 4}, "--unfreeze 3: the encoder has 2 layers"),
        ({"unfreeze": "0,1,2", "epochs": 2}, "names more epochs than --epochs 2"),
        ({"unfreeze": "0,1", "freeze": "1"}, "cannot be combined with --freeze 1"),
        ({"unfreeze": "0,1", "lora_rank": 4}, "cannot be combined with --lora-rank"),
        ({"lora_rank": 0}, "--lora-rank 0: must be at least 1"),
        ({"lora_rank": 64}, "--lora-rank 64: must be from 1 to 32"),
        ({"lora_rank": 4, "implementation": "graph"}, "computed by its graph"),
        ({"reinit_layers": 3}, "--reinit-layers 3: the encoder has 2 layers"),
        ({"jit_compile": True}, "requires --padding buckets"),
        ({"jit_compile": True, "padding": "buckets", "implementation": "graph"}, "--jit-compile: .* by its graph"),
        ({"layer_decay": 0.0}, "--layer-decay 0.0: must be at least 0.01"),
        ({"recompute": True, "implementation": "graph"}, "--recompute: .* is computed by its graph"),
    ],
)
def test_train_refuses_fine_tuning_methods_without_support(tiny_pair, reviews_csv, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train(tiny_pair, tmp_path / "run", data=reviews_csv, **settings)
    assert not (tmp_path / "run").exists()


def test_train_refuses_a_preprocessor_of_a_larger_vocabulary(tiny_pair, checkpoint_maker, reviews_csv, tmp_path):
    folder = checkpoint_maker(tmp_path / "checkpoint")
    words = [f"word{number}" for number in range(9)]
    with (folder / "vocab.txt").open("a") as file:
        file.write("\n".join(words))
    vocabulary = (folder / "vocab.txt").read_text().splitlines()
    write_preprocessor(tmp_path / "larger", vocabulary, do_lower_case=True, seq_length=64)
    with pytest.raises(InputError, match=r"--preprocessor .*larger: has 327 tokens, but --encoder .* for 318"):
        train(tiny_pair, tmp_path / "run", data=reviews_csv, preprocessor=tmp_path / "larger")
    assert not (tmp_path / "run").exists()


def test_train_names_the_config_file_of_an_error(reviews_csv, tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: x\nbatch_size: 4\n")
    with pytest.raises(InputError, match=r"^--config .*mine\.yaml: --epochs 'x': must be an integer"):
        tfhub_ft.train("sentiment", data=reviews_csv, config=tmp_path / "mine.yaml", output_dir=tmp_path / "run")
    with pytest.raises(InputError, match=r"^--batch-size 0: must be at least"):
        tfhub_ft.train("sentiment", data=reviews_csv, config=tmp_path / "mine.yaml", epochs=1, batch_size=0)
