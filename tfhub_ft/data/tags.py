"""Check tags of words, and convert other schemes to BIO."""

import itertools
from collections.abc import Iterable

from tfhub_ft.data.columns import FittedCheck, Values, kind_of, list_from_cell, to_nfc

OUTSIDE = "O"
# The first letters of tags: of a new entity, a continued one, one that ends, and one of a single word.
FIRST, INSIDE, LAST, SINGLE = "B", "IM", "EL", "SU"
TAGS_READ = "tags are O, B-KIND and I-KIND; IOB1, BIOES and BILOU are read, too"


class Tags(FittedCheck):
    """Checks the tags of rows, and converts them to BIO (IOB2).

    Args:
        iob1: Whether an entity starts with I-, and with B- only right after another one of its kind.

    Reference:
        Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107
    """

    def __init__(self, *, iob1: bool = False):
        self.iob1 = iob1
        self._converted: set[str] = set()

    def __call__(self, value: object) -> list[str]:
        """Return the tags of a row in BIO from a list of tags, or from a cell of a table that contains one."""
        value = list_from_cell(value)
        if not isinstance(value, list):
            raise ValueError(f"is {kind_of(value)}, not a list of tags such as ['B-PER', 'O']")
        if any(isinstance(tag, int) for tag in value):
            raise ValueError(
                "has numbers instead of tags: replace each number by its name, [names[tag] for tag in tags], with names"
                " from dataset.features['ner_tags'].feature.names in Hugging Face's datasets"
            )
        tags, before = [], OUTSIDE
        for number, tag in enumerate(value, 1):
            if not isinstance(tag, str):
                raise ValueError(f"has {kind_of(tag)} for tag {number}; {TAGS_READ}")
            tags.append(self._to_bio(number, tag, before))
            before = tag
        return tags

    def _to_bio(self, number: int, tag: str, before: str) -> str:
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
        return to_nfc(f"{FIRST if starts else 'I'}-{kind}")

    def notes(self) -> list[str]:
        """Return the scheme that tags were converted from; empty for BIO."""
        letters_by_scheme = {"BMES": {"M"}, "BIOES": {"E", "S"}, "BILOU": {"L", "U"}}
        schemes = [scheme for scheme, letters in letters_by_scheme.items() if self._converted & letters]
        schemes += ["IOB1"] if self.iob1 else []
        return [f"tags are converted from {schemes[0]} to BIO"] if schemes else []


def _continues(tag: str, before: str) -> bool:
    """Return whether a tag may belong to the same entity as the previous one."""
    return before != OUTSIDE and before[0] not in (*LAST, *SINGLE) and before[2:] == tag[2:]


def check_tags(value: object) -> list[str]:
    """Return a row's tags in BIO; see `Tags`."""
    return Tags()(value)


def fit_tags(values: Iterable[object]) -> Tags:
    """Detect from all rows whether their tags are in IOB1: entities start with I-, and no B- could as well be an I-.

    Example:
        fit_tags([["I-PER", "I-PER", "O"]])(["I-LOC"])  # ["B-LOC"]
    """
    starts_inside = False
    for value in values:
        try:
            value = list_from_cell(value)
        except ValueError:
            continue
        tags = value if isinstance(value, list) and all(isinstance(tag, str) for tag in value) else []
        for before, tag in itertools.pairwise([OUTSIDE, *tags]):
            if tag[:1] in (FIRST, *SINGLE) and before[2:] != tag[2:]:
                return Tags()
            starts_inside = starts_inside or (tag[:2] == "I-" and not _continues(tag, before))
    return Tags(iob1=starts_inside)


def word_table_hint(option: str, rows: Iterable[Values]) -> str | None:
    """Return what a table with a word and its tag per row lacks; None for other tables."""
    names = {name.strip().casefold() for name in next(iter(rows), {})}
    if not names & {"word", "token"}:
        return None
    return "a table of words needs a column 'sentence_id', with the number of the sentence of each word, and 'tag'"
