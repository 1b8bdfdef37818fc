import csv
import gzip
import io
import json
import pickle
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import make_reviews
from tfhub_ft.cli.main import group
from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import ReadOptions
from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor
from tfhub_ft.inference.predict import (
    Predictor,
    answer_writer,
    open_predictor,
    predict_file,
    predict_shards,
    write_answers,
)
from tfhub_ft.utils.errors import InputError

COLUMNS = [Column("text", ("review",), check_text, option="--text-column")]
TEXTS = [text for text, _ in make_reviews(50, seed=5)]


@pytest.fixture(scope="module")
def by_run(tiny_run):
    return open_predictor(tiny_run)


def test_answers_are_in_order_and_right(by_run):
    answers = tfhub_ft.predict(by_run, TEXTS)
    labels = [label for _, label in make_reviews(50, seed=5)]
    assert sum(a["label"] == label for a, label in zip(answers, labels)) >= 45
    alone = [tfhub_ft.predict(by_run, [text])[0] for text in TEXTS[:4]]
    for one, other in zip(answers, alone):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1)
    assert answers[0]["score"] == max(answers[0]["probabilities"].values())


LONG = "the " * 60 + "good film"


def test_predict_warns_of_truncated_texts(tiny_run, by_run, tiny_export, capsys):
    warning = "Warning: 1 of 2 texts are longer than --seq-length 24 tokens; the rest of their text is not read\n"
    for model in (tiny_run, tiny_export):
        tfhub_ft.predict(model, [LONG, "good"])
        assert capsys.readouterr().err.endswith(warning)
        tfhub_ft.predict(model, ["good film"])
        assert "longer than" not in capsys.readouterr().err
    tfhub_ft.predict(by_run, [LONG, "good"])
    assert capsys.readouterr().err == ""
    done = CliRunner().invoke(group, ["predict", str(tiny_run), LONG, "good"])
    assert done.stderr.endswith(warning)


def test_files_warn_once_of_truncated_rows(by_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfhub_ft.inference.predict.COUNTED_AT_ONCE", 3)
    file = write_texts(tmp_path / "rows.csv", ["good", LONG, None, "bad film", LONG, LONG, "a", LONG])
    assert len(list(predict_file(by_run, file, columns=COLUMNS))) == 8
    error = capsys.readouterr().err
    assert f"Warning: {file}: 4 of 8 rows are longer than --seq-length 24 tokens" in error
    assert error.count("longer than") == 1


def test_windows_truncate_nothing(by_run, tiny_pair):
    layer = WindowPreprocessor(tiny_pair / "preprocessor", seq_length=16)
    windows = Predictor(by_run.task, by_run.labels, lambda: None, "windows", lambda: layer)
    assert windows.truncated_rows([(LONG,)]) == 0


def test_a_pickled_predictor_whose_run_has_gone_says_so(tiny_run, tmp_path):
    pickled = pickle.dumps(open_predictor(shutil.copytree(tiny_run, tmp_path / "run")))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="run: not found"):
        pickle.loads(pickled)


def test_no_texts_are_no_answers(by_run):
    assert tfhub_ft.predict(by_run, []) == []


def test_an_empty_text_is_refused(by_run):
    with pytest.raises(InputError, match="text 2 is empty"):
        tfhub_ft.predict(by_run, ["good", " "])


def write_texts(path, texts):
    """A file of texts in the format of its name; a missing text is None."""
    plain = Path(path.name.removesuffix(".gz")).suffix
    if plain == ".csv":
        file = io.StringIO()
        csv.writer(file).writerows(
            [("id", "review", "label"), *((f"A-{i}", text, "x") for i, text in enumerate(texts))]
        )
        content = file.getvalue()
    elif plain == ".tsv":
        content = "".join(
            f"{row}\n" for row in ["id\treview", *(f"A-{i}\t{text or ''}" for i, text in enumerate(texts))]
        )
    elif plain == ".json":
        content = json.dumps([{"id": i, "review": text} for i, text in enumerate(texts)])
    elif plain == ".jsonl":
        content = "".join(json.dumps({"id": i, "review": text}) + "\n" for i, text in enumerate(texts))
    else:
        content = "".join(f"{text or ''}\n" for text in texts)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


FILES = ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "rows.txt"]


@pytest.mark.parametrize("name", [*FILES, *(f"{name}.gz" for name in FILES)])
def test_files_are_predicted_row_by_row_and_rows_without_a_text_keep_their_place(by_run, tmp_path, name, capsys):
    texts = [None, *TEXTS[:3], "", "  ", *TEXTS[3:6], None]
    path = write_texts(tmp_path / name, texts)
    predictions = list(predict_file(by_run, path, columns=COLUMNS))
    assert len(predictions) == len(texts)
    expected = iter(tfhub_ft.predict(by_run, TEXTS[:6]))
    for text, prediction in zip(texts, predictions):
        if text and text.strip():
            assert prediction == {"text": text, **next(expected)}
        else:
            blank = {"text": "", "label": None, "score": None, "probabilities": {"negative": None, "positive": None}}
            assert prediction == blank
    assert capsys.readouterr().err == f"{path}: 4 of 10 rows without a text; their predictions are empty\n"


@pytest.mark.parametrize("end", ["", "\n"])
def test_as_many_predictions_come_out_as_lines_go_in(by_run, tmp_path, end):
    (tmp_path / "rows.txt").write_bytes(f"\ufeffgood\r\n\r\nbad{end}".encode())
    stream = io.TextIOWrapper(io.BytesIO(f"good\n\nbad{end}".encode()))
    for source in (tmp_path / "rows.txt", str(tmp_path / "rows.txt"), stream):
        assert [each["text"] for each in predict_file(by_run, source)] == ["good", "", "bad"]
    (tmp_path / "blank.txt").write_text("\n\n")
    assert list(predict_file(by_run, tmp_path / "blank.txt")) == [{"text": ""}] * 2


@pytest.mark.parametrize("blank", ["", "  ", '" "', '""'])
def test_each_row_of_a_single_column_keeps_its_place(by_run, tmp_path, blank):
    (tmp_path / "rows.csv").write_text(f"text\ngood\n{blank}\nbad\n")
    assert [each["text"] for each in predict_file(by_run, tmp_path / "rows.csv")] == ["good", "", "bad"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_other_columns_are_kept(by_run, tmp_path, name):
    path = write_texts(tmp_path / name, ["good", None])
    predictions = list(predict_file(by_run, path, columns=COLUMNS, keep_columns=True))
    kept = {"csv": {"id": "A-1", "input_label": "x"}, "jsonl": {"id": 1}}[path.suffix[1:]]
    assert list(predictions[1]) == [*kept, "text", "label", "score", "probabilities"]
    assert {key: predictions[1][key] for key in kept} == kept
    write_answers(predictions, tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(kept["id"])[:-1] + end for end in "01"]
    assert (rows[1]["text"], rows[1]["label"], rows[1]["probability_positive"]) == ("", "", "")


def test_kept_columns_get_free_names(by_run, tmp_path):
    (tmp_path / "rows.csv").write_text("text,input_label,label\ngood,a,b\n")
    (prediction,) = predict_file(by_run, tmp_path / "rows.csv", keep_columns=True)
    assert (prediction["input_label"], prediction["input_input_label"]) == ("a", "b")
    (tmp_path / "twice.csv").write_text("id,text,id\n1,good,2\n")
    with pytest.raises(InputError, match="column 'id' occurs twice; rename one of them"):
        list(predict_file(by_run, tmp_path / "twice.csv", keep_columns=True))
    assert len(list(predict_file(by_run, tmp_path / "twice.csv"))) == 1


def test_a_lone_surrogate_is_not_a_text(by_run):
    with pytest.raises(InputError, match="text 2: character 2 is a lone surrogate; replace it"):
        tfhub_ft.predict(by_run, ["good", "a\ud800"])


def test_bad_rows_are_an_error_or_counted_and_left_out(by_run, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n{"text": 5}\nbroken\n{"text": ""}\n{"text": "nan"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: column 'text' is a number \(5\), not text"):
        write_answers(predict_file(by_run, path), tmp_path / "answers.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
    capsys.readouterr()
    predictions = list(predict_file(by_run, path, skip_bad_rows=True))
    assert [each["text"] for each in predictions] == ["good", "", "nan"]
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: 1 of 3 rows without a text; their predictions are empty",
        f"Warning: {path}: 1 row with the text nan, which pandas writes for a missing value",
        f"{path}: skipped 2 bad rows (first: line 2: column 'text' is a number (5), not text)",
    ]


def test_standard_input_names_the_byte_that_is_broken(by_run):
    content = b"good film\nbad \xff\n"
    with pytest.raises(InputError, match="standard input, line 2: byte 5 .0xff. is not UTF-8; .* --encoding cp1252"):
        list(predict_file(by_run, io.TextIOWrapper(io.BytesIO(content))))
    options = ReadOptions(encoding="cp1252")
    predictions = list(predict_file(by_run, io.TextIOWrapper(io.BytesIO(content)), options=options))
    assert predictions[1]["text"] == "bad ÿ"
    with pytest.raises(InputError, match="standard input: no rows found"):
        list(predict_file(by_run, io.TextIOWrapper(io.BytesIO(b""))))


def test_files_are_read_with_the_encoding_of_the_run_where_none_is_detected(by_run, monkeypatch, tmp_path):
    settings = by_run.settings.replaced({"encoding": "cp1252", "delimiter": "~"})
    monkeypatch.setattr(by_run, "settings", settings)
    options = by_run.read_options(delimiter=None, encoding=None, header=True)
    of_run = "id~text\n1~größer\n"
    for content in (of_run.encode("cp1252"), of_run.encode(), b"id;text\n1;gr\xf6\xdfer\n"):
        (tmp_path / "rows.csv").write_bytes(content)
        assert next(predict_file(by_run, tmp_path / "rows.csv", options=options))["text"] == "größer"


ANSWERS = [{"text": 'a "quote",\tand\nmore', "label": "no", "score": 0.75, "probabilities": {"no": 0.75, "yes": 0.25}}]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_what_is_written_reads_back(tmp_path, form):
    path = tmp_path / f"answers.{form}"
    assert write_answers(iter(ANSWERS), path) == 1
    text = path.read_text(encoding="utf-8")
    if form == "jsonl":
        assert json.loads(text) == ANSWERS[0]
    elif form == "csv":
        with path.open(newline="") as file:
            assert next(csv.DictReader(file)) == {
                "text": ANSWERS[0]["text"], "label": "no", "score": "0.75", "probability_no": "0.75",
                "probability_yes": "0.25",
            }  # fmt: skip
    else:
        assert text.splitlines()[1].split("\t") == ['a "quote", and more', "no", "0.75", "0.75", "0.25"]


FORMULAS = ["=1+1", "+1", "-1", "@me", "\t=1", "\r=1", "＝1"]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_texts_that_a_spreadsheet_would_run_are_kept_or_escaped(tmp_path, form):
    rows = [{"text": text, "note": "'=x", "label": "-a", "score": -0.5} for text in [*FORMULAS, " =1", "plain", ""]]
    path = tmp_path / f"answers.{form}"
    delimiter = "," if form == "csv" else "\t"

    def cells():
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, delimiter=delimiter))[1:]

    write_answers(iter(rows), path)
    texts = [row["text"] if form == "csv" else row["text"].strip() for row in rows]
    assert [row[0] for row in cells()] == texts
    write_answers(iter(rows), path, spreadsheet_safe=True)
    risky = FORMULAS if form == "csv" else [*FORMULAS, " =1"]
    escaped = [f"'{text}" if row["text"] in risky else text for row, text in zip(rows, texts, strict=True)]
    assert cells() == [[text, "'=x", "'-a", "-0.5"] for text in escaped]


def test_spreadsheet_safe_needs_a_table(tiny_run, tmp_path):
    for arguments in (["good"], ["good", "--output", str(tmp_path / "one.jsonl")]):
        done = CliRunner().invoke(group, ["predict", str(tiny_run), *arguments, "--spreadsheet-safe"])
        assert str(done.exception) == "--spreadsheet-safe: needs an --output that ends in .csv or .tsv"
    output = tmp_path / "one.csv"
    done = CliRunner().invoke(
        group, ["predict", str(tiny_run), "=good film", "--output", str(output), "--spreadsheet-safe"]
    )
    assert done.exit_code == 0
    assert output.read_text(encoding="utf-8").splitlines()[1].startswith('"\'=good film","')


def test_a_writer_writes_to_an_open_file():
    file = io.StringIO()
    answer_writer("jsonl", file)(ANSWERS[0])
    assert json.loads(file.getvalue()) == ANSWERS[0]


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="not found"):
        tfhub_ft.predict(tmp_path / "none", ["good"])
    with pytest.raises(InputError, match="not a run folder"):
        tfhub_ft.predict(tmp_path, ["good"])


def test_an_encoder_is_no_export(tiny_pair):
    with pytest.raises(InputError, match="not an export of tfhub_ft"):
        open_predictor(Path(tiny_pair) / "encoder")


def test_a_run_answers_in_another_precision(tiny_run, by_run):
    exact = tfhub_ft.predict(by_run, TEXTS)
    rounded = tfhub_ft.predict(tiny_run, TEXTS, precision="bfloat16")
    differences = [abs(a["probabilities"]["positive"] - b["probabilities"]["positive"]) for a, b in zip(exact, rounded)]
    assert 0 < max(differences) < 0.1


def test_an_export_has_its_own_precision(tiny_export, tiny_run):
    with pytest.raises(InputError, match="--precision bfloat16: .* is an export, which has its own"):
        open_predictor(tiny_export, precision="bfloat16")
    with pytest.raises(InputError, match="--precision half: must be one of auto, float32"):
        open_predictor(tiny_run, precision="half")


def test_many_files_are_answered_one_by_one_and_only_once(by_run, tmp_path):
    parts, answers = tmp_path / "parts", tmp_path / "answers"
    parts.mkdir()
    for number in range(3):
        rows = "".join(json.dumps({"text": f"good film {number} {i}"}) + "\n" for i in range(number + 1))
        (parts / f"part-{number}.jsonl").write_text(rows)
    sources = sorted(parts.iterdir())
    first = predict_shards(by_run, sources, answers)
    assert next(first) == (answers / "part-0.jsonl", 1)
    first.close()
    (answers / "part-1.jsonl").write_text("of a process that was killed before it wrote this down")
    before = (answers / "part-0.jsonl").stat().st_mtime_ns
    assert list(predict_shards(by_run, sources, answers)) == [
        (answers / "part-0.jsonl", 0), (answers / "part-1.jsonl", 2), (answers / "part-2.jsonl", 3),
    ]  # fmt: skip
    assert (answers / "part-0.jsonl").stat().st_mtime_ns == before
    texts = [json.loads(line)["text"] for part in sorted(answers.glob("part*")) for line in part.open()]
    assert texts == [
        "good film 0 0",
        "good film 1 0",
        "good film 1 1",
        "good film 2 0",
        "good film 2 1",
        "good film 2 2",
    ]

    (parts / "part-2.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(InputError, match="part-2.jsonl has answers of another file"):
        list(predict_shards(by_run, sources, answers))


def test_files_that_cannot_be_answered_together_are_refused(by_run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.txt").write_text("a text\n")
    with pytest.raises(InputError, match="two files would both"):
        list(predict_shards(by_run, sorted(tmp_path.glob("*/part.txt")), tmp_path / "out"))
    with pytest.raises(InputError, match="not empty, and without predictions"):
        list(predict_shards(by_run, [tmp_path / "a" / "part.txt"], tmp_path / "b"))
