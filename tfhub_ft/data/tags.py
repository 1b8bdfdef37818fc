"""Tags of words: named entities in BIO."""

from typing import Any

from tfhub_ft.data.columns import composed, kind_of


def check_tags(value: Any) -> list[str]:
    """Return a row's tags: O, or B- or I- and a kind of entity; an I- continues the entity before it.

    Args:
        value: a list of tags.

    Raises:
        ValueError: it is of another kind, or breaks that rule.

    Reference:
        Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107
    """
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError(f"is {kind_of(value)}, not a list of tags" if not isinstance(value, list) else "has no texts")
    before = "O"
    for number, tag in enumerate(value, 1):
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
            raise ValueError(f"has the tag {tag!r}, number {number}: tags are O, B-KIND and I-KIND")
        if tag.startswith("I-") and before[2:] != tag[2:]:
            raise ValueError(
                f"breaks BIO at tag {number}: {tag} continues an entity of its kind, but follows {before};"
                f" an entity starts with B-{tag[2:]}"
            )
        before = tag
    return [composed(tag) for tag in value]
