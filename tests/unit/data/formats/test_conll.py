"""CoNLL files with and without numbers, comments and several columns of tags."""

import re
import subprocess

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/K\u00f6ln [2009-10-17]\n1\tDer\tO\tO\n2\tFC\tB-ORG\tO\n3\tK\u00f6ln\tI-ORG\t{}\n\n"
    "#\thttp://de.wikipedia.org/wiki/Anna [2010-01-01]\n1\tAnna\tB-PER\tO\n2\t#\tO\tO\n3\t1\tO\tO\n"
)
GERMEVAL_ROWS = [
    (["Der", "FC", "K\u00f6ln"], ["O", "B-ORG", "I-ORG"]),
    (["Anna", "#", "1"], ["B-PER", "O", "O"]),
]
NUMBERED = "column 1 counts the tokens of each sentence: tokens are read from column 2"


@pytest.fixture
def read(tmp_path):
    def read_rows(content, name="rows.conll"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        recipe = load_recipe("ner")
        rows = read_all(path, recipe.task.columns(recipe.settings))
        return [(row.values["tokens"], row.values["tags"]) for row in rows]

    return read_rows


@pytest.mark.parametrize("name", ["rows.conll", "rows.txt", "rows.iob2"])
@pytest.mark.parametrize("inner", ["O", "B-LOC"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_conll_reads_the_outer_tags_of_germeval(name, inner, end, read, tmp_path, capsys):
    assert read(GERMEVAL.format(inner).replace("\n", end), name) == GERMEVAL_ROWS
    outer = "columns 3 and 4 hold tags: those of column 3 are read"
    assert capsys.readouterr().err.splitlines() == [f"{tmp_path / name}: {note}" for note in (NUMBERED, outer)]


def test_conll_finds_the_column_of_tags(read, tmp_path, capsys):
    rows = [(["Anna", "lacht"], ["B-PER", "O"])]
    assert read("1 Anna NE B-PER\n2 lacht VVFIN O\n") == rows
    assert capsys.readouterr().err == f"{tmp_path / 'rows.conll'}: {NUMBERED}\n"
    assert read("1\tAnna\tB-PER\t_\t_\n2\tlacht\tO\t_\tSpaceAfter=No\n") == rows
    assert capsys.readouterr().err.endswith(": tags are read from column 3\n")


def test_conll_u_skips_multiword_tokens_and_empty_nodes(read):
    content = (
        "# sent_id = 1\n# text = Vamos al mar\n1\tVamos\tir\tVERB\tO\n2-3\tal\t_\t_\t_\n2\ta\ta\tADP\tO\n"
        "3\tel\tel\tDET\tO\n3.1\tgran\t_\t_\t_\n4\tmar\tmar\tNOUN\tB-LOC\n\n# text = Oslo\n"
        "1\tOslo\tOslo\tPROPN\tB-LOC\n"
    )
    assert read(content) == [(["Vamos", "a", "el", "mar"], ["O", "O", "O", "B-LOC"]), (["Oslo"], ["B-LOC"])]


def test_conll_u_without_tags_is_rejected(read):
    with pytest.raises(InputError, match="line 2: column 'tags' has the tag '_', number 1"):
        read("# text = Anna lacht\n1\tAnna\t_\tPROPN\t_\n2\tlacht\t_\tVERB\t_\n")


@pytest.mark.parametrize("tags", ["B-NP B-ORG", "O B-ORG", "B-NP NN B-ORG", "NN B-NP B-ORG"])
def test_conll_columns_are_selected_as_the_error_says(tags, read, tmp_path):
    with pytest.raises(InputError) as caught:
        read(f"# a comment\n1 EU {tags}\n2-3 a b\n2 rejects {tags.replace('B-ORG', 'O')}\n\n1 EU {tags}\n")
    message = str(caught.value)
    command, table = re.search(r"such as by (awk .* > (\S+)), and pass that$", message).groups()
    subprocess.run(command, shell=True, check=True)
    with open(table, encoding="utf-8") as file:
        assert read(file.read()) == [(["EU", "rejects"], ["B-ORG", "O"]), (["EU"], ["B-ORG"])]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # A sentence that does not start with 1.
        ("1 CD O\n2 CD B-X\n\nAnna NE B-PER\n", [(["1", "2"], ["O", "B-X"]), (["Anna"], ["B-PER"])]),
        ("1 CD B-X\n3 CD O\n", [(["1", "3"], ["B-X", "O"])]),
        ("1 O\n2 B-X\n", [(["1", "2"], ["O", "B-X"])]),
        ("1 CD B-X\n\n1 CD O\n", [(["1"], ["B-X"]), (["1"], ["O"])]),
        # "#" and a range are tokens, and chunks precede entities.
        ("# NN O\n2-3 CD O\nEU NNP B-NP B-ORG\n", [(["#", "2-3", "EU"], ["O", "O", "B-ORG"])]),
        ("-DOCSTART- -X- O O\n\nAnna NE B-PER O\n", [(["Anna"], ["O"])]),
    ],
)
def test_conll_reads_tokens_that_are_numbers(content, rows, read, capsys):
    assert read(content) == rows
    assert capsys.readouterr().err == ""


def test_conll_wrong_tag_is_a_bad_row(read):
    with pytest.raises(InputError, match="line 7: column 'tags' has the tag 'PER', number 1"):
        read(GERMEVAL.format("O").replace("B-PER", "PER"))


def test_conll_missing_tag_is_a_bad_row(read):
    with pytest.raises(InputError, match="line 3: the tag is missing after the token"):
        read("1\tAnna\tB-PER\n2\tist\tO\n3\tda\n\n1\tOslo\tB-LOC\n")
