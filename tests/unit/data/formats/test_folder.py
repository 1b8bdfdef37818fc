"""Folders of txt files."""

import os

import pytest

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.formats.folder import TextFiles
from tfhub_ft.data.rows import read_all, read_rows
from tfhub_ft.utils.errors import InputError

TEXT, LABEL = Column("text", ("review",), check_text), Column("label", (), check_label)


@pytest.fixture
def make(tmp_path):
    """A function that writes files into a folder, which it returns."""

    def write_files(files):
        for name, text in files.items():
            (tmp_path / "rows" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "rows" / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / "rows"

    return write_files


def read(folder, columns=(TEXT, LABEL), **options):
    return [tuple(row.values.values()) for row in read_rows(folder, columns, **options)]


def test_folder_labels_are_the_names_of_its_folders(make):
    folder = make({"pos/10_9.txt": "good\n", "pos/2_8.txt": "größer\r\n\nfilm", "neg/0_1.TXT": "\ufeffbad"})
    assert read(folder) == [("bad", "neg"), ("größer\r\n\nfilm", "pos"), ("good", "pos")]


def test_folder_is_read_in_the_order_of_the_file_names(make):
    files = ["10.txt", "9_2.txt", "9_10.txt", "a/1.txt", "a/b/0.txt", "B.txt"]
    names = [f"{'pos' if number % 2 else 'neg'}/{name}" for number, name in enumerate(files)]
    texts = ["9_2.txt", "9_10.txt", "10.txt", "B.txt", "a/1.txt", "a/b/0.txt"]
    assert [text[4:] for text, _ in read(make({name: name for name in reversed(names)}))] == texts


def test_folder_has_the_rows_of_keras(make):
    keras = pytest.importorskip("keras")
    files = [
        f"{label}/{name}" for label in ("pos", "neg", "a b") for name in ("2.txt", "10.txt", "b/1.txt", "a/z/3.TXT")
    ]
    folder = make({name: name for name in files} | {"pos/4.md": "no", "top.txt": "no"})
    dataset = keras.utils.text_dataset_from_directory(folder, shuffle=False, batch_size=None, verbose=False)
    expected = [(text.numpy().decode(), dataset.class_names[int(label)]) for text, label in dataset]
    assert sorted(read(folder)) == sorted(expected)
    assert len(expected) == 12


def test_folder_says_what_it_ignores(make, capsys):
    folder = make({"pos/1.txt": "a", "neg/1.txt": "b", "unsup/1.txt": "c", "urls_pos.txt": "d", "neg/x.feat": "e"})
    (folder / ".DS_Store").touch()
    (folder / "pos" / "._1.txt").write_text("f")
    (folder / "empty").mkdir()
    assert len(read_all(folder, [TEXT, LABEL])) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{folder}: labels are the names of its folders",
        f"{folder}: the folder unsup is ignored, because its texts are unlabeled; rename it if it is a label",
        f"{folder}: empty, urls_pos.txt, neg/x.feat ignored; only .txt files in folders of labels are read",
    ]


def test_folder_without_labels_has_texts_and_file_names(make):
    folder = make({"2.txt": "b", "1.txt": "a", "note.md": "c"})
    whole_row = Column("", (), lambda others: others, whole_row=True)
    assert read(folder, [TEXT, whole_row]) == [
        ("a", {"text": "a", "file": "1.txt"}),
        ("b", {"text": "b", "file": "2.txt"}),
    ]
    (folder / "sub").mkdir()
    assert TextFiles.find(folder).ignored == ["note.md", "sub"]


def test_folder_of_unlabeled_texts_alone_is_read(make):
    assert read(make({"unsup/1.txt": "a"}), [TEXT]) == [("a",)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "column 'text' is empty"),
        (b" \n\n", "column 'text' is empty"),
        (b"a\nb\xff", r"line 2: byte 2 \(0xff\) is not UTF-8; save the file as UTF-8, or name its encoding"),
        (b"a\0", "line 1: contains a NUL byte"),
        (b"word " * 2**20, r"has more than 4,194,304 characters"),
    ],
    ids=["empty", "blank", "encoding", "nul", "long"],
)
def test_folder_error_names_the_file(make, content, fault):
    folder = make({"neg/1.txt": "bad", "pos/2.txt": content})
    with pytest.raises(InputError, match=f"^{folder}, pos/2.txt: {fault}"):
        read(folder)
    skipped = []
    assert read(folder, on_bad_row=skipped.append) == [("bad", "neg")]
    assert len(skipped) == 1


def test_folder_error_names_a_file_that_cannot_be_opened(make):
    folder = make({"neg/1.txt": "bad", "pos/2.txt": "good"})
    os.symlink("missing", folder / "pos" / "3.txt")
    with pytest.raises(InputError, match=f"^{folder}, pos/3.txt: cannot be read \\(No such file"):
        read(folder)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (["1.txt"], "has texts without labels; move each file into a folder that is named after its label, such as .*"),
        (
            ["train/pos/1.txt", "test/pos/1.txt"],
            "has the folders of labels in train and test; pass --train .*/train --t",
        ),
        (["part-1.parquet", "_SUCCESS"], r"is a folder; .* by a pattern such as .*/\*.parquet"),
        (["label=pos/part-1.parquet"], "is a folder; pass a file in it"),
        ([], "is a folder; pass a file in it"),
    ],
)
def test_folder_of_other_files_is_refused(make, files, fault):
    folder = make({"x": ""} if not files else dict.fromkeys(files, "a"))
    with pytest.raises(InputError, match=f"^{folder}: {fault}"):
        read(folder)


def test_folder_of_tokens_and_tags_is_refused(make):
    columns = [Column("tokens", (), check_text), Column("tags", (), check_text)]
    with pytest.raises(InputError, match=r"several by a pattern such as .*/\*.txt"):
        read(make({"1.txt": "Ada B-PER"}), columns)
