"""Following the advice of an error about a file of rows fixes the error."""

import bz2
import gzip
import json
import lzma
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.data.rows import ReadOptions, read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

TEXTS = [("Awful pot, it broke", "negative"), ("Love the rake; truly", "positive"), ("A fern | dead", "negative")]
ROWS = [(f"{text} {number}", label) for number in range(4) for text, label in TEXTS]
TABLE = [("text", "label"), *ROWS]


def joined(rows, delimiter=","):
    return "".join(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) + "\n" for row in rows)


def read(path, recipe="sentiment", **settings):
    """Return the values of the rows that a training run would read."""
    recipe = load_recipe(recipe)
    settings = recipe.settings.replaced(settings)
    columns = recipe.task.columns(settings)
    rows = read_all(path, columns, options=ReadOptions.of(settings))
    return [tuple(row.values.values()) for row in rows]


def error_of(path, recipe="sentiment", **settings):
    with pytest.raises(InputError) as caught:
        read(path, recipe, **settings)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def options_in(message):
    """Return the options in a message as settings."""
    words = shlex.split(message[message.index("--") :].split(" (")[0])
    settings = {}
    for word, value in zip(words, [*words[1:], ""]):
        if word == "--no-header":
            settings["header"] = False
        elif word.startswith("--") and value and not value.startswith("--"):
            settings[word[2:].replace("-", "_")] = value
    return settings


def run_command(message, folder):
    """Run the Python command of a message, and return the file that the message says to pass."""
    command = re.search(r"python .*?(?=, and pass |$)", message)[0]
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True, cwd=folder)
    named = message.rpartition(", and pass ")[2] if ", and pass " in message else ""
    return folder / named if named else None


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_missing_columns_are_named_by_options(delimiter, name, write):
    path = write(name, joined([("comment_text", "verdict"), *ROWS], delimiter))
    message = error_of(path)
    assert "the columns are 'comment_text', 'verdict'; name one of them with --text-column" in message
    message = error_of(path, text_column="comment_text")
    assert "name one of them with --label-column" in message
    assert read(path, text_column="comment_text", label_column="verdict") == ROWS


def test_semicolon_header_is_not_one_column(write):
    path = write("rows.csv", joined([("words", "verdict"), *ROWS], ";"))
    message = error_of(path, text_column="words;verdict", label_column="words;verdict")
    assert "column 'words;verdict' not found; the columns are 'words', 'verdict'" in message
    assert message.endswith("(read with the delimiter ';')")
    assert read(path, text_column="words", label_column="verdict") == ROWS


def test_missing_header_is_fixed_by_the_advice(write):
    path = write("rows.csv", joined(ROWS))
    message = error_of(path)
    advice = "; or, if line 1 is a row, add --no-header and name columns by number, such as --text-column 1"
    assert message.endswith(advice)
    settings = options_in(message.rpartition("add ")[2])
    assert settings == {"header": False, "text_column": "1"}
    message = error_of(path, **settings)
    assert "the columns are '1', '2'; name one of them with --label-column" in message
    assert read(path, **settings, label_column="2") == ROWS


def test_first_row_named_as_columns_is_rejected(write):
    path = write("rows.csv", joined(ROWS))
    message = error_of(path, text_column=ROWS[0][0], label_column=ROWS[0][1])
    assert f"{path}, line 3: column 'negative' has the value 'negative'" in message
    assert read(path, **options_in(message.rpartition("add ")[2])) == ROWS


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("gut\nschlecht\n", [("gut",), ("schlecht",)]),
        ('"gut, sehr"\nschlecht\n', [("gut, sehr",), ("schlecht",)]),
        ("gut\n", [("gut",)]),
    ],
)
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_single_column_without_header_keeps_all_texts(name, content, rows, write):
    path = write(name, content)
    columns = load_recipe("sentiment").task.columns(labeled=False, settings=SimpleNamespace(text_column=None))
    with pytest.raises(InputError) as caught:
        read_all(path, columns)
    settings = options_in(str(caught.value).rpartition("add ")[2])
    assert settings == {"header": False, "text_column": "1"}
    columns = load_recipe("sentiment").task.columns(
        labeled=False, settings=SimpleNamespace(text_column=settings["text_column"])
    )
    rows_read = read_all(path, columns, options=ReadOptions(header=settings["header"]))
    assert [tuple(row.values.values()) for row in rows_read] == rows


def test_missing_header_with_distinct_labels_is_detected(write):
    path = write("rows.csv", "gut,pos\nschlecht,neg\n")
    settings = options_in(error_of(path).rpartition("add ")[2])
    assert settings == {"header": False, "text_column": "1"}
    assert read(path, **settings, label_column="2") == [("gut", "pos"), ("schlecht", "neg")]


@pytest.mark.parametrize("delimiter", ["^", ":", "~", "#", " ", "/", "!", "\x1f", "'"])
@pytest.mark.parametrize("names", [("text", "label"), ("body_text", "verdict")])
def test_undetected_delimiter_is_named_by_every_error(delimiter, names, write):
    rows = [("good", "a"), ("bad", "b"), ("good", "b")]
    path = write("rows.csv", joined([names, *rows], delimiter))
    columns = {} if names == ("text", "label") else {"text_column": names[0], "label_column": names[1]}
    whole = delimiter.join(names)
    for settings in ({}, {"text_column": whole}, {"text_column": whole, "label_column": whole}):
        followed = options_in(error_of(path, **settings).rpartition("add ")[2])
        assert followed == {"delimiter": delimiter}
    assert read(path, **followed, **columns) == rows


def test_delimiter_at_line_ends_is_named(write):
    path = write("rows.csv", "text^label^\ngood^a^\n")
    assert options_in(error_of(path).rpartition("add ")[2]) == {"delimiter": "^"}
    assert read(path, delimiter="^") == [("good", "a")]


def test_full_stop_is_not_a_delimiter(write):
    path = write("rows.csv", "Very good.\nBad.\n")
    assert "--delimiter" not in error_of(path)


def test_delimiter_inside_texts_is_named(write):
    path = write("rows.csv", 'text:label\n"so: good":a\nbad:b\n')
    assert options_in(error_of(path, delimiter=";").rpartition("add ")[2]) == {"delimiter": ":"}
    assert read(path, delimiter=":") == [("so: good", "a"), ("bad", "b")]


def test_space_delimiter_is_named(write):
    path = write("rows.csv", 'text label\n"very good" a\nbad b\n')
    assert options_in(error_of(path, delimiter=";").rpartition("add ")[2]) == {"delimiter": " "}
    assert read(path, delimiter=" ") == [("very good", "a"), ("bad", "b")]


def test_delimiter_between_quotes_is_named(write):
    path = write("rows.csv", '"text"^"label"\n"so ""good""^"^"a"\n')
    assert options_in(error_of(path).rpartition("add ")[2]) == {"delimiter": "^"}
    assert read(path, delimiter="^") == [('so "good"^', "a")]


def test_delimiter_is_named_without_a_header(write):
    path = write("rows.csv", "good^a\nbad^b\n")
    settings = {"header": False, "text_column": "1", "label_column": "2"}
    message = error_of(path, **settings)
    assert read(path, **settings, **options_in(message.rpartition("add ")[2])) == [("good", "a"), ("bad", "b")]


@pytest.mark.parametrize("right", [",", ";", "\t", "|"])
def test_wrong_delimiter_is_corrected(right, write):
    path = write("rows.csv", joined(TABLE, right))
    followed = options_in(error_of(path, delimiter="^").rpartition("add ")[2])
    assert read(path, **followed) == ROWS


def test_absent_delimiter_is_reported(write):
    path = write("rows.csv", "comment\ngood\nbad\n")
    message = error_of(path, delimiter=";")
    assert "the delimiter ';' is not in line 1: leave --delimiter out, or name another one" in message
    assert "--delimiter" not in error_of(path)


def test_space_in_a_column_name_is_not_a_delimiter(write):
    path = write("rows.csv", "my text\nvery good\nbad\n")
    assert "--delimiter" not in error_of(path)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("caf\xe9 – “fern”".encode("cp1252"), "cp1252"),
        (b"caf\xe9 \x81", "latin-1"),
    ],
)
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json"])
def test_other_encoding_is_named(content, encoding, name, write):
    before, after = {"csv": (b"text,label\n", b",a\n"), "tsv": (b"text\tlabel\n", b"\ta\n")}.get(
        name[5:], (b'{"text": "', b'", "label": "a"}\n')
    )
    path = write(name, before + content + after)
    message = error_of(path)
    assert options_in(message) == {"encoding": encoding}
    assert read(path, **options_in(message)) == [(content.decode(encoding), "a")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_utf_16_without_a_mark_is_named(encoding, name, write):
    content = {"csv": "text,label\nx,a\n", "tsv": "text\tlabel\nx\ta\n"}.get(name[5:], '{"text": "x", "label": "a"}')
    path = write(name, content.encode(encoding))
    settings = options_in(error_of(path))
    assert settings == {"encoding": encoding}
    assert len(read(path, **settings)) == 1
    settings = options_in(error_of(path, encoding="utf-16").replace("with --encoding, such as", "with --encoding"))
    assert settings == {"encoding": encoding}


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_determines_the_encoding(mark, write):
    path = write("rows.csv", joined([("text", "label"), ("größer, 日本", "ä")]).encode(mark))
    assert read(path) == [("größer, 日本", "ä")]
    with pytest.raises(InputError, match=f"{path}"):
        read(path, encoding="cp1252" if mark != "utf-8-sig" else "utf-16")


@pytest.mark.parametrize(
    ("settings", "message", "followed"),
    [
        ({"delimiter": "::"}, "--delimiter '::': must be one character, such as ';', or tab", {"delimiter": ";"}),
        ({"delimiter": ""}, "--delimiter '': must be one character, such as ';', or tab", {"delimiter": "tab"}),
        ({"encoding": "utf9"}, "--encoding utf9: not known; name a text encoding", {"encoding": "latin-1"}),
        ({"encoding": "base64"}, "such as cp1252, latin-1 or utf-16", {"encoding": "cp1252"}),
    ],
)
def test_bad_options_are_fixed_by_the_advice(settings, message, followed, write):
    path = write("rows.csv", joined(TABLE, "\t" if followed.get("delimiter") == "tab" else ";"))
    with pytest.raises(InputError, match=re.escape(message)):
        read(path, **settings)
    assert read(path, **followed) == ROWS


@pytest.mark.parametrize("delimiter", ["~", "^", "\t"])
def test_any_character_may_be_the_delimiter(delimiter, write):
    path = write("rows.csv", joined(TABLE, delimiter))
    assert read(path, delimiter={"\t": r"\t"}.get(delimiter, delimiter)) == ROWS


def test_repeated_columns_are_fixed_by_the_advice(write):
    path = write("rows.csv", "text,text,other,label\na,b,c,d\n")
    assert error_of(path).endswith("rename one, or name another with --text-column")
    assert read(path, text_column="other") == [("c", "d")]
    message = error_of(path, text_column="other", label_column="other")
    assert message.endswith("text and label are both read from 'other'; name another with --label-column")
    assert read(path, text_column="other", label_column="label") == [("c", "d")]


@pytest.mark.parametrize(
    ("bad", "message", "mended"),
    [
        ('"so" good,a', r"double each quote that belongs to a text (\"\")", '"""so"" good",a'),
        ("bad, very bad,a", "is there a comma that is not in quotes in a text?", '"bad, very bad",a'),
        ("a\rb,a", "put the field that contains it in quotes", '"a\rb",a'),
        ('"never closed,a', "close it, or double it if it belongs to the text", '"never closed",a'),
        ("a\0b,a", "contains a NUL byte; remove it", "ab,a"),
    ],
)
def test_bad_rows_are_fixed_by_the_advice(bad, message, mended, write):
    assert message.replace("\\", "") in error_of(write("rows.csv", f"text,label\ngood,a\n{bad}"))
    assert len(read(write("rows.csv", f"text,label\ngood,a\n{mended}"))) == 2


def test_label_columns_are_named_by_the_advice(write):
    path = write("rows.csv", "id,body,price,very good\n7,a,1,0\n8,b,0,1\n9,c,0,0\n")
    settings = options_in(error_of(path, "multilabel"))
    assert settings == {"labels_column": "price,very good"}
    assert read(path, "multilabel", **settings) == [("a", ("price",)), ("b", ("very good",)), ("c", ())]


def test_separator_is_named_by_the_warning(write, capsys):
    path = write("rows.csv", "text,labels\na,x/y\nb,x\nc,y\nd,y/x\n")
    read(path, "multilabel")
    settings = options_in(capsys.readouterr().err.strip())
    assert settings == {"label_separator": "/"}
    assert read(path, "multilabel", **settings)[0] == ("a", ("x", "y"))


def test_unknown_suffix_is_fixed_by_the_advice(write):
    path = write("eng.train", "EU NNP B-NP I-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP I-PER\n")
    renamed = re.search(r"such as to (\S+);", error_of(path, "ner"))[1]
    assert read(path.rename(renamed), "ner") == [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter"], ["B-PER"])]


def test_nearest_file_is_named(write):
    path = write("reviews.csv", joined(TABLE))
    assert read(re.search(r"did you mean (.*)\?", error_of(path.with_name("reveiws.csv")))[1]) == ROWS


def test_file_of_a_folder_of_classes_is_read_by_the_advice(write, tmp_path):
    for number, (text, label) in enumerate(ROWS):
        write(f"my data/{label}/{number}.txt", text)
    folder = error_of(tmp_path / "my data" / "negative" / "0.txt").rpartition("pass the folder ")[2]
    assert sorted(read(folder)) == sorted(ROWS)


def test_parts_of_a_folder_are_read_by_the_advice(write, tmp_path):
    for number, (text, label) in enumerate(ROWS):
        write(f"my data/train/{label}/{number}.txt", text)
        write(f"my data/test/{label}/{number}.txt", text)
    write("my data/train/urls.txt", "http://example.org")
    options = options_in(error_of(tmp_path / "my data"))
    assert {name: sorted(read(folder)) for name, folder in options.items()} == {
        "train": sorted(ROWS),
        "test": sorted(ROWS),
    }


def test_folder_of_files_is_read_by_the_advised_pattern(write, tmp_path):
    for number in range(2):
        write(f"parts/part-{number}.csv", joined(TABLE[: 1 + 6 * (number + 1)][:7]))
    message = error_of(tmp_path / "parts")
    assert read(shlex.split(message.rpartition("such as ")[2])[0]) == ROWS[:6] * 2


def test_zip_archive_is_unpacked_by_the_advice(tmp_path):
    path = tmp_path / "my rows.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", joined(TABLE))
    assert read(run_command(error_of(path), tmp_path)) == ROWS


@pytest.mark.parametrize(("suffix", "compress"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_other_compression_is_undone_by_the_advice(suffix, compress, write, tmp_path):
    path = write(f"rows.csv{suffix}", compress(joined(TABLE).encode()))
    command, named = re.search(r"decompress it, (.*), and pass (.*)", error_of(path)).groups()
    if not shutil.which(shlex.split(command)[0]):
        pytest.skip("needs the program that the error names")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read(named) == ROWS


@pytest.mark.parametrize(("suffix", "write_frame"), [(".parquet", "to_parquet"), (".feather", "to_feather")])
@pytest.mark.parametrize("name", ["rows.csv", "rows.xlsx", "rows", "rows.jsonl.gz"])
def test_binary_file_is_read_after_renaming_by_the_advice(suffix, write_frame, name, tmp_path):
    pd, path = pytest.importorskip("pandas"), tmp_path / name
    getattr(pd.DataFrame(ROWS, columns=TABLE[0]), write_frame)(path)
    renamed = re.search(r"; rename it to (.*)", error_of(path))[1]
    assert renamed.endswith(suffix)
    assert read(path.rename(renamed)) == ROWS


def test_feather_of_version_1_is_converted_by_the_advice(tmp_path):
    from pyarrow import Table, feather

    table, path = Table.from_pylist([dict(zip(TABLE[0], row)) for row in ROWS]), tmp_path / "my rows.feather"
    with pytest.warns(DeprecationWarning):
        feather.write_feather(table, path, version=1)
    assert read(run_command(error_of(path), tmp_path)) == ROWS


def test_text_with_the_suffix_of_a_workbook_is_read_by_the_advice(write):
    path = write("rows.xlsx", joined(TABLE, "\t"))
    assert read(path.rename(re.search(r"such as to (.*)", error_of(path))[1])) == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and more", "is a zip archive; export its rows as csv or jsonl"),
        (b"SQLite format 3\0", "is a SQLite database; export its rows as csv or jsonl"),
        (gzip.compress(b"PAR1", mtime=0), "is a Parquet file; rename it to"),
    ],
)
def test_other_formats_are_detected_by_their_first_bytes(content, message, write):
    assert message in error_of(write("rows.csv", content))


def test_json_by_column_is_fixed_by_the_advice(tmp_path):
    pd = pytest.importorskip("pandas")
    frame, path = pd.DataFrame(ROWS, columns=TABLE[0]), tmp_path / "rows.json"
    frame.to_json(path)
    assert "write it with DataFrame.to_json(path, orient='records')" in error_of(path)
    for options in ({"orient": "records"}, {"orient": "records", "lines": True}, {"orient": "table", "index": False}):
        frame.to_json(path, **options)
        assert read(path) == ROWS


def test_words_per_line_are_read_after_the_advice(write):
    message = error_of(write("rows.csv", "word,label\nAna,B-PER\n"), "ner")
    assert "a table of words needs a column 'sentence_id', with the number of the sentence of each word, and" in message
    path = write("rows.csv", "word,tag,sentence_id\nAna,B-PER,1\nnull,O,1\nOslo,B-LOC,2\n")
    assert read(path, "ner") == [(["Ana", "null"], ["B-PER", "O"]), (["Oslo"], ["B-LOC"])]


def test_numbered_tags_are_converted_by_the_advice(write):
    message = error_of(write("rows.jsonl", '{"tokens": ["Ana"], "ner_tags": [1]}\n'), "ner")
    code = re.search(r"\[names\[tag\] for tag in tags\]", message)[0]
    tags = eval(code, {"names": ["O", "B-PER"], "tags": [1]})
    path = write("rows.jsonl", json.dumps({"tokens": ["Ana"], "ner_tags": tags}))
    assert read(path, "ner") == [(["Ana"], ["B-PER"])]


def test_broken_entity_is_fixed_by_the_advice(write):
    content = "Ana B-PER\n\nOslo I-LOC\n"
    tag = re.search(r"an entity starts with (\S+)", error_of(write("rows.conll", content), "ner"))[1]
    assert len(read(write("rows.conll", content.replace("I-LOC", tag)), "ner")) == 2


def test_split_errors_are_fixed_by_the_advice(write, tmp_path):
    recipe, path = load_recipe("topic"), write("rows.csv", joined([TABLE[0], ("a", "x"), ("b", "y")]))
    with pytest.raises(InputError, match="add rows, or pass a file for each part"):
        load_dataset(recipe.task, recipe.settings.replaced({"data": str(path)}), recipe.demo)
    files = dict.fromkeys(("train", "validation", "test"), str(path))
    assert len(load_dataset(recipe.task, recipe.settings.replaced(files), recipe.demo).splits) == 3
    write("rows.csv", joined(TABLE))
    assert len(load_dataset(recipe.task, recipe.settings.replaced({"data": str(path)}), recipe.demo).splits) == 3
    settings = {"data": str(path), "min_label_rows": 9}
    with pytest.raises(InputError, match=r"'negative', has 8\); choose a smaller number"):
        load_dataset(recipe.task, recipe.settings.replaced(settings), recipe.demo)
