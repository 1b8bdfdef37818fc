import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import make_reviews
from tfhub_ft.cli.main import group
from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import ReadOptions
from tfhub_ft.data.texts import TextRows
from tfhub_ft.inference.files import output_row, predict_file, predict_shards, write_predictions
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.utils.errors import InputError

COLUMNS = [Column("text", ("review",), check_text, option="--text-column")]
LONG = "the " * 60 + "good film"
TEXTS = [text for text, _ in make_reviews(50, seed=5)]


@pytest.fixture(scope="module")
def by_run(tiny_run):
    return open_predictor(tiny_run)


def predictions_of(predictor, source, columns=None, **reading):
    return predict_file(predictor, TextRows(source, columns or predictor.columns(), **reading))


def predicted(*arguments, **reading):
    """Return the rows with their predictions, as a jsonl file has them."""
    return [output_row(*each) for each in predictions_of(*arguments, **reading)]


def test_predict_file_warns_once_of_truncated_rows(by_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfhub_ft.inference.files.COUNTED_AT_ONCE", 3)
    file = write_texts(tmp_path / "rows.csv", ["good", LONG, None, "bad film", LONG, LONG, "a", LONG])
    assert len(predicted(by_run, file, columns=COLUMNS)) == 8
    error = capsys.readouterr().err
    assert f"Warning: {file}: 4 of 8 rows are longer than --seq-length 24 tokens" in error
    assert error.count("longer than") == 1


def write_texts(path, texts):
    """Write texts in the format of the file's name; None is a missing text."""
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
def test_predict_file_keeps_rows_without_a_text(by_run, tmp_path, name, capsys):
    texts = [None, *TEXTS[:3], "", "  ", *TEXTS[3:6], None]
    path = write_texts(tmp_path / name, texts)
    predictions = predicted(by_run, path, columns=COLUMNS)
    assert len(predictions) == len(texts)
    expected = iter(tfhub_ft.predict(by_run, TEXTS[:6]))
    for text, prediction in zip(texts, predictions):
        prediction = {field: prediction[field] for field in ("label", "score", "probabilities")}
        if text and text.strip():
            assert prediction == next(expected)
        else:
            blank = {"label": None, "score": None, "probabilities": {"negative": None, "positive": None}}
            assert prediction == blank
    assert capsys.readouterr().err == f"{path}: 4 of 10 rows without a text; their predictions are empty\n"


@pytest.mark.parametrize("end", ["", "\n"])
def test_predict_file_returns_a_prediction_per_line(by_run, tmp_path, end):
    (tmp_path / "rows.txt").write_bytes(f"\ufeffgood\r\n\r\nbad{end}".encode())
    stream = io.TextIOWrapper(io.BytesIO(f"good\n\nbad{end}".encode()))
    for source in (tmp_path / "rows.txt", str(tmp_path / "rows.txt"), stream):
        assert [each["text"] for each in predicted(by_run, source)] == ["good", "", "bad"]
    (tmp_path / "blank.txt").write_text("\n\n")
    blank = {"text": "", "label": None, "score": None, "probabilities": {"negative": None, "positive": None}}
    assert predicted(by_run, tmp_path / "blank.txt") == [blank] * 2


@pytest.mark.parametrize("blank", ["", "  ", '" "', '""'])
def test_predict_file_keeps_blank_rows_of_a_single_column(by_run, tmp_path, blank):
    (tmp_path / "rows.csv").write_text(f"text\ngood\n{blank}\nbad\n")
    assert [each["text"] for each in predicted(by_run, tmp_path / "rows.csv")] == ["good", "", "bad"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json"])
def test_predict_file_keeps_all_columns_in_order(by_run, tmp_path, name):
    path = write_texts(tmp_path / name, ["good", None])
    rows = predicted(by_run, path, columns=COLUMNS)
    of_input = {"csv": ["id", "review", "input_label"]}.get(path.suffix[1:], ["id", "review"])
    assert [list(row) for row in rows] == [[*of_input, "label", "score", "probabilities"]] * 2
    assert [str(row["id"])[-1] for row in rows] == ["0", "1"]
    assert rows[0]["review"] == "good"
    write_predictions(predictions_of(by_run, path, columns=COLUMNS), tmp_path / "out" / "predictions.csv")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        header, *cells = csv.reader(file)
    assert header == [*of_input, "label", "score", "probability_negative", "probability_positive"]
    assert cells[1][-5:] == ["", "", "", "", ""] if len(of_input) == 2 else ["x", "", "", "", ""]


def test_predict_file_keeps_columns_that_only_some_objects_have(by_run, tmp_path):
    rows = [{"text": "good", "id": 1}, {"id": 2, "text": "bad", "note": ["a", 1]}, {"text": "", "more": {"b": 1.25}}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ["text", "id", "note", "more"]
    for row, kept in zip(rows, predicted(by_run, tmp_path / "rows.jsonl"), strict=True):
        assert {name: kept[name] for name in names} == {name: row.get(name) for name in names}
    write_predictions(predictions_of(by_run, tmp_path / "rows.jsonl"), tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [[row[name] for name in names] for row in cells] == [
        ["good", "1", "", ""], ["bad", "2", '["a", 1]', ""], ["", "", "", '{"b": 1.25}'],
    ]  # fmt: skip


def test_predict_file_renames_columns_that_collide(by_run, tmp_path):
    header = "text,input_label,label,probability_positive,probabilities"
    (tmp_path / "rows.csv").write_text(f"{header}\ngood,a,b,c,d\n")
    (row,) = predicted(by_run, tmp_path / "rows.csv")
    assert list(row)[:5] == [
        "text", "input_label", "input_input_label", "input_probability_positive", "input_probabilities",
    ]  # fmt: skip
    assert list(row.values())[:5] == ["good", "a", "b", "c", "d"]
    (tmp_path / "twice.csv").write_text("id,text,id\n1,good,2\n")
    with pytest.raises(InputError, match="column 'id' occurs twice; rename one of them"):
        predicted(by_run, tmp_path / "twice.csv")


def test_write_predictions_keeps_numbers_of_the_input(by_run, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "good", "price": 1234567.891, "id": 12345678901234567890}\n')
    write_predictions(predictions_of(by_run, tmp_path / "rows.jsonl"), tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["price"], row["id"]) == ("1234567.891", "12345678901234567890")
    assert len(row["score"]) <= 8


def test_predict_file_refuses_or_skips_bad_rows(by_run, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good"}\n{"text": 5}\nbroken\n{"text": ""}\n{"text": "nan"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: column 'text' is a number \(5\), not text"):
        write_predictions(predictions_of(by_run, path), tmp_path / "predictions.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
    capsys.readouterr()
    predictions = predicted(by_run, path, skip_bad_rows=True)
    assert [each["text"] for each in predictions] == ["good", "", "nan"]
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: 1 of 3 rows without a text; their predictions are empty",
        f"Warning: {path}: 1 row with the text nan, which pandas writes for a missing value",
        f"{path}: skipped 2 bad rows (first: line 2: column 'text' is a number (5), not text)",
    ]


def test_predict_file_names_the_invalid_byte_of_a_stream(by_run):
    content = b"good film\nbad \xff\n"
    with pytest.raises(InputError, match="standard input, line 2: byte 5 .0xff. is not UTF-8; .* --encoding cp1252"):
        predicted(by_run, io.TextIOWrapper(io.BytesIO(content)))
    options = ReadOptions(encoding="cp1252")
    predictions = predicted(by_run, io.TextIOWrapper(io.BytesIO(content)), options=options)
    assert predictions[1]["text"] == "bad ÿ"
    with pytest.raises(InputError, match="standard input: no rows found"):
        predicted(by_run, io.TextIOWrapper(io.BytesIO(b"")))


def test_read_options_default_to_the_encoding_of_the_run(by_run, monkeypatch, tmp_path):
    settings = by_run.settings.replaced({"encoding": "cp1252", "delimiter": "~"})
    monkeypatch.setattr(by_run, "settings", settings)
    options = by_run.read_options(delimiter=None, encoding=None, header=True)
    of_run = "id~text\n1~größer\n"
    for content in (of_run.encode("cp1252"), of_run.encode(), b"id;text\n1;gr\xf6\xdfer\n"):
        (tmp_path / "rows.csv").write_bytes(content)
        assert predicted(by_run, tmp_path / "rows.csv", options=options)[0]["text"] == "größer"


def test_spreadsheet_safe_requires_csv_or_tsv(tiny_run, tmp_path):
    for arguments in (["good"], ["good", "--output", str(tmp_path / "one.jsonl")]):
        done = CliRunner().invoke(group, ["predict", str(tiny_run), *arguments, "--spreadsheet-safe"])
        assert str(done.exception) == "--spreadsheet-safe: requires an --output that ends in .csv or .tsv"
    output = tmp_path / "one.csv"
    done = CliRunner().invoke(
        group, ["predict", str(tiny_run), "=good film", "--output", str(output), "--spreadsheet-safe"]
    )
    assert done.exit_code == 0
    assert output.read_text(encoding="utf-8").splitlines()[1].startswith('"\'=good film","')


def test_predict_shards_continues_after_an_interruption(by_run, tmp_path):
    parts, output = tmp_path / "parts", tmp_path / "output"
    parts.mkdir()
    for number in range(3):
        rows = "".join(json.dumps({"text": f"good film {number} {i}"}) + "\n" for i in range(number + 1))
        (parts / f"part-{number}.jsonl").write_text(rows)
    sources = sorted(parts.iterdir())
    first = predict_shards(by_run, sources, output, COLUMNS)
    assert next(first) == (output / "part-0.jsonl", 1)
    first.close()
    (output / "part-1.jsonl").write_text("written by a process that was killed")
    before = (output / "part-0.jsonl").stat().st_mtime_ns
    assert list(predict_shards(by_run, sources, output, COLUMNS)) == [
        (output / "part-0.jsonl", 0), (output / "part-1.jsonl", 2), (output / "part-2.jsonl", 3),
    ]  # fmt: skip
    assert (output / "part-0.jsonl").stat().st_mtime_ns == before
    texts = [json.loads(line)["text"] for part in sorted(output.glob("part*")) for line in part.open()]
    assert texts == [
        "good film 0 0",
        "good film 1 0",
        "good film 1 1",
        "good film 2 0",
        "good film 2 1",
        "good film 2 2",
    ]

    with pytest.raises(InputError, match="part-0.jsonl was predicted with other options; choose another folder"):
        list(predict_shards(by_run, sources, output, COLUMNS, made_with={"explain": True}))
    (parts / "part-2.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(InputError, match="part-2.jsonl has predictions of another file"):
        list(predict_shards(by_run, sources, output, COLUMNS))


def test_predict_shards_refuses_ambiguous_outputs(by_run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.txt").write_text("a text\n")
    with pytest.raises(InputError, match="two files would both"):
        list(predict_shards(by_run, sorted(tmp_path.glob("*/part.txt")), tmp_path / "out", COLUMNS))
    with pytest.raises(InputError, match="not empty, and without predictions"):
        list(predict_shards(by_run, [tmp_path / "a" / "part.txt"], tmp_path / "b", COLUMNS))
