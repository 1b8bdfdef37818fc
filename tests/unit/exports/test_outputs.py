import os

import pytest

import tfhub_ft
from tests.conftest import make_reviews, write_csv
from tfhub_ft.benchmarking.benchmark import benchmark
from tfhub_ft.inference.files import predict_shards
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.training.start import new_folder
from tfhub_ft.training.tune import tune
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_new, check_output, check_writable, write_text


@pytest.fixture
def rows(tmp_path):
    return write_csv(tmp_path / "rows.csv", make_reviews(8))


def aliases(file):
    """Return other names of a file: a link, a hard link, a longer path and the path itself."""
    folder = file.parent
    (folder / "link.csv").symlink_to(file.name)
    os.link(file, folder / "hard.csv")
    (folder / "there").symlink_to(folder)
    return [folder / "link.csv", folder / "hard.csv", folder / "there" / ".." / folder.name / file.name, file]


def test_check_output_refuses_inputs_by_any_name(rows):
    for name in aliases(rows):
        for output, read in ((name, rows), (rows, name)):
            with pytest.raises(InputError, match="^--output .*: is the input .*; choose another file$"):
                check_output(output, "--output", inputs=[rows.parent / "none.csv", read])
    check_output(rows.parent / "new" / "answers.csv", "--output", inputs=[rows])


def test_check_output_refuses_unwritable_paths(rows, tmp_path):
    (tmp_path / "dangling.csv").symlink_to("nowhere.csv")
    for name, message in (
        ("dangling.csv", "is a link to nowhere.csv, which does not exist; remove the link"),
        ("rows.csv/answers.csv", "rows.csv is not a folder; choose another place"),
        ("", "is a folder; pass a file"),
    ):
        with pytest.raises(InputError, match=f"^--output {tmp_path / name}: .*{message}"):
            check_output(tmp_path / name, "--output", inputs=[])


def test_check_writable_refuses_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=f"{tmp_path} is not writable; choose another place"):
        check_writable(tmp_path / "runs" / "one", "--output-dir")


def test_write_text_writes_through_links(rows, tmp_path):
    (tmp_path / "link.csv").symlink_to("rows.csv")
    write_text(tmp_path / "link.csv", "new")
    assert (tmp_path / "link.csv").is_symlink()
    assert rows.read_text() == "new"
    (tmp_path / "dangling.csv").symlink_to("nowhere.csv")
    with pytest.raises(InputError, match="dangling.csv: is a link to nowhere.csv, which does not exist"):
        write_text(tmp_path / "dangling.csv", "new")


def test_check_new_refuses_broken_links(tmp_path):
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InputError, match="already exists"):
        check_new(tmp_path / "dangling")
    with pytest.raises(InputError, match="--output-dir .*dangling: is a link to nowhere"):
        new_folder(tmp_path / "dangling")


def test_evaluate_does_not_replace_its_inputs(tiny_run, rows, tmp_path):
    (tmp_path / "report.html").symlink_to("rows.csv")
    for report in (tmp_path / "report.html", tiny_run / "report.html"):
        with pytest.raises(InputError, match="--report .*report.html: is the input"):
            tfhub_ft.evaluate(tiny_run, data=rows, report=report)


def test_benchmark_does_not_replace_its_inputs(tiny_export, rows, tmp_path):
    for target in (rows, tiny_export / "export.json"):
        (tmp_path / "picture.png").unlink(missing_ok=True)
        (tmp_path / "picture.png").symlink_to(target)
        with pytest.raises(InputError, match="--picture .*picture.png: is the input"):
            benchmark(tiny_export, data=rows, picture=tmp_path / "picture.png")


def test_predict_shards_refuses_the_folder_of_its_inputs(tiny_run, tmp_path):
    (tmp_path / "parts").mkdir()
    part = tmp_path / "parts" / "part.jsonl"
    part.write_text('{"text": "a"}\n')
    (tmp_path / "parts" / "answers.json").write_text('{"other.jsonl": {}}')
    (tmp_path / "link").symlink_to("parts")
    with pytest.raises(InputError, match="--output .*link: is the folder of the input"):
        list(predict_shards(open_predictor(tiny_run), [part], tmp_path / "link", []))
    (tmp_path / "answers").mkdir()
    os.link(part, tmp_path / "answers" / "part.jsonl")
    with pytest.raises(InputError, match=r"--output .*part\.jsonl: is the input"):
        list(predict_shards(open_predictor(tiny_run), [part], tmp_path / "answers", []))


def test_tune_does_not_replace_its_config(tmp_path):
    (tmp_path / "best.yaml").write_text("epochs: 1\n")
    with pytest.raises(InputError, match=r"--output-dir .*best\.yaml: is the input"):
        tune("sentiment", output_dir=tmp_path, config=tmp_path / "best.yaml")
