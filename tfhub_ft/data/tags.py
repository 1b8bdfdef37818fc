"""Tags of words: named entities in BIO, and in the schemes that are converted to it."""

import itertools
from collections.abc import Iterable
from typing import Any

from tfhub_ft.data.columns import composed, kind_of, listed_in_cell

OUTSIDE = "O"
# The first letters of tags: a new entity, one that continues, one that ends, one of a single word.
FIRST, INSIDE, LAST, SINGLE = "B", "IM", "EL", "SU"
TAGS_READ = "tags are O, B-KIND and I-KIND; IOB1, BIOES and BILOU are read, too"


class Tags:
    """Checks the tags of rows, and converts them to BIO (IOB2).

    Args:
        iob1: whether an entity begins with I-, and with B- only right after another one of its kind.
    """

    def __init__(self, *, iob1: bool = False):
        self.iob1 = iob1
        self._converted: set[str] = set()

    def __call__(self, value: Any) -> list[str]:
        """The tags of a row in BIO, where an I- continues the entity before it.

        Args:
            value: a list of tags, or such a list in a cell of a table.

        Raises:
            ValueError: it is of another kind, or an I- continues nothing.

        Reference:
            Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107
        """
        value = listed_in_cell(value)
        if not isinstance(value, list):
            raise ValueError(f"is {kind_of(value)}, not a list of tags such as ['B-PER', 'O']")
        if any(isinstance(tag, int) for tag in value):
            raise ValueError(
                "has numbers where tags have names: replace each number by its name, [names[tag] for tag in tags], with"
                " names from dataset.features['ner_tags'].feature.names in Hugging Face's datasets"
            )
        found, before = [], OUTSIDE
        for number, tag in enumerate(value, 1):
            if not isinstance(tag, str):
                raise ValueError(f"has {kind_of(tag)} for tag {number}; {TAGS_READ}")
            found.append(self._bio(number, tag, before))
            before = tag
        return found

    def _bio(self, number: int, tag: str, before: str) -> str:
        """A tag in BIO, by the tag before it."""
        if tag == OUTSIDE:
            return OUTSIDE
        letter, _, kind = tag.partition("-")
        if not kind or letter not in (FIRST, *INSIDE, *LAST, *SINGLE):
            raise ValueError(f"has the tag {tag!r}, number {number}; {TAGS_READ}")
        starts = letter in (FIRST, *SINGLE)
        if not starts and not _continues(tag, before):
            if not self.iob1:
                raise ValueError(
                    f"breaks BIO at tag {number}: {tag} continues an entity of its kind, but follows {before};"
                    f" an entity starts with B-{kind}"
                )
            starts = True
        if letter not in (FIRST, "I"):
            self._converted.add(letter)
        return composed(f"{FIRST if starts else 'I'}-{kind}")

    def notes(self) -> list[str]:
        """From which scheme tags were converted; empty where they were in BIO."""
        letters = {"BMES": {"M"}, "BIOES": {"E", "S"}, "BILOU": {"L", "U"}}
        found = [name for name, own in letters.items() if self._converted & own] + (["IOB1"] if self.iob1 else [])
        return [f"tags are converted from {found[0]} to BIO"] if found else []

    def warnings(self) -> list[str]:
        """Nothing: all schemes of tags are told apart."""
        return []


def _continues(tag: str, before: str) -> bool:
    """Whether a tag may be of the same entity as the one before it."""
    return before != OUTSIDE and before[0] not in (*LAST, *SINGLE) and before[2:] == tag[2:]


def check_tags(value: Any) -> list[str]:
    """Return a row's tags in BIO; see `Tags`."""
    return Tags()(value)


def fit_tags(values: Iterable[Any]) -> Tags:
    """Find out from all rows whether their tags are in IOB1.

    They are where an entity begins with I-, and no B- begins one that could as well begin with I-.

    Args:
        values: the tags of rows.

    Example:
        fit_tags([["I-PER", "I-PER", "O"]])(["I-LOC"])  # ["B-LOC"]
    """
    begins_inside = False
    for value in values:
        try:
            value = listed_in_cell(value)
        except ValueError:
            continue
        tags = value if isinstance(value, list) and all(isinstance(tag, str) for tag in value) else []
        for before, tag in itertools.pairwise([OUTSIDE, *tags]):
            if tag[:1] in (FIRST, *SINGLE) and before[2:] != tag[2:]:
                return Tags()
            begins_inside = begins_inside or (tag[:2] == "I-" and not _continues(tag, before))
    return Tags(iob1=begins_inside)


def layout_advice(option: str, rows: Iterable[dict[str, Any]]) -> str | None:
    """What to do about missing tokens in files of other layouts; None where the rows are of none of them.

    Args:
        option: names the column of tokens.
        rows: some rows of the file.
    """
    row = next(iter(rows), {})
    spans = next((name for name, value in row.items() if _has_spans(value)), None)
    if spans:
        return (
            f"its {spans!r} are spans of characters: turn them into a tag for each token, such as by spaCy,"
            " spacy.training.offsets_to_biluo_tags(nlp.make_doc(text), spans), and write lines of"
            ' {"tokens": [...], "tags": [...]} (Label Studio exports CoNLL2003 itself)'
        )
    names = {name.strip().casefold(): name for name in row}
    word, tag, sentence = (
        next((names[each] for each in wanted if each in names), None)
        for wanted in (("word", "token"), ("tag", "ner", "ner_tag", "label"), ("sentence #", "sentence_id", "sentence"))
    )
    if not (word and tag and sentence):
        return None
    return (
        "a word a line is read from CoNLL files alone, which have a blank line between sentences; or write a list of"
        " tokens and of tags for each sentence, with pandas: frame = pandas.read_csv(path, keep_default_na=False,"
        f" na_values=['']).ffill(); frame.groupby({sentence!r}, sort=False).agg(tokens=({word!r}, list),"
        f" tags=({tag!r}, list)).to_json('rows.jsonl', orient='records', lines=True)"
    )


def _has_spans(value: Any) -> bool:
    """Whether a value is a list of [start, end, kind] or {"start", "end", ...}."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    if isinstance(first, dict):
        return "start" in first or "value" in first or "result" in first
    return isinstance(first, list) and len(first) == 3 and isinstance(first[0], int)
