"""Names and paths as the text and the code of a model card can hold them."""

import json


def plain(text: str) -> str:
    """Return text that neither ends a table cell or a code span, nor opens a tag."""
    return str(text).replace("|", "¦").replace("`", "'").replace("<", "‹").replace("\n", " ")


def python_string(text: str) -> str:
    """Return the literal of a string in Python, in double quotes.

    Example:
        python_string('my "model"')  # "my \\\\"model\\\\""
    """
    return json.dumps(text, ensure_ascii=False)
