"""Tags of words in BIO and in schemes that are converted to it."""

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.data.tags import check_tags, fit_tags
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

PLAIN = ("B-PER I-PER O B-LOC B-LOC I-LOC", "O", "B-PER B-LOC O B-ORG-X I-ORG-X I-ORG-X")
SCHEMES = {
    "BIO": PLAIN,
    "IOB1": ("I-PER I-PER O I-LOC B-LOC I-LOC", "O", "I-PER I-LOC O I-ORG-X I-ORG-X I-ORG-X"),
    "BIOES": ("B-PER E-PER O S-LOC B-LOC E-LOC", "O", "S-PER S-LOC O B-ORG-X I-ORG-X E-ORG-X"),
    "BILOU": ("B-PER L-PER O U-LOC B-LOC L-LOC", "O", "U-PER U-LOC O B-ORG-X I-ORG-X L-ORG-X"),
    "BMES": ("B-PER E-PER O S-LOC B-LOC E-LOC", "O", "S-PER S-LOC O B-ORG-X M-ORG-X E-ORG-X"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fit_tags_converts_schemes_to_bio(scheme):
    rows = [tags.split() for tags in SCHEMES[scheme]]
    check = fit_tags(rows)
    assert tuple(" ".join(check(tags)) for tags in rows) == PLAIN
    assert check.notes() == ([] if scheme == "BIO" else [f"tags are converted from {scheme} to BIO"])


def test_fit_tags_rejects_iob1_rows_in_a_bio_file():
    check = fit_tags([["I-PER"], ["B-PER"]])
    assert check(["B-PER"]) == ["B-PER"]
    with pytest.raises(ValueError, match="breaks BIO at tag 1: I-PER continues an entity of its kind, but follows O"):
        check(["I-PER"])


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("O", "is a text, not a list of tags"),
        (None, "is null, not a list of tags"),
        ([1, 2], "has numbers instead of tags: replace each number by its name"),
        ([["O"]], "has a list for tag 1; tags are O"),
        (["PER"], "has the tag 'PER', number 1; tags are O, B-KIND and I-KIND; IOB1, BIOES and BILOU are read, too"),
        (["B-"], "has the tag 'B-', number 1"),
        (["O", ""], "has the tag '', number 2"),
        (["X-PER"], "has the tag 'X-PER'"),
        (["B-PER", "I-LOC"], "breaks BIO at tag 2: I-LOC continues an entity of its kind, but follows B-PER"),
        (["S-PER", "I-PER"], "breaks BIO at tag 2"),
    ],
)
def test_check_tags_rejects_other_values(tags, message):
    with pytest.raises(ValueError, match=message):
        check_tags(tags)


CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- O O

Oslo NNP I-NP I-LOC
Bergen NNP B-NP B-LOC
"""


@pytest.mark.parametrize("name", ["train.txt", "eng.conll", "eng.iob", "eng.iob2", "eng.bio", "train.txt.gz"])
def test_conll_2003_is_read_as_distributed(name, tmp_path, capsys):
    path, recipe = tmp_path / name, load_recipe("ner")
    path.write_text(CONLL_2003)
    rows = read_all(path, recipe.task.columns(recipe.settings))
    assert [row.values["tags"] for row in rows] == [
        ["B-ORG", "O", "B-MISC", "O"], ["B-PER", "I-PER"], ["B-LOC", "B-LOC"]
    ]  # fmt: skip
    assert [row.line for row in rows] == [3, 8, 13]
    assert capsys.readouterr().err == f"{path}: tags are converted from IOB1 to BIO\n"


def test_txt_file_of_texts_is_rejected_as_tags(tmp_path):
    path, recipe = tmp_path / "a.txt", load_recipe("ner")
    path.write_text("one\ntwo\n")
    with pytest.raises(InputError, match="line 1: the tag is missing after the token"):
        read_all(path, recipe.task.columns(recipe.settings))
