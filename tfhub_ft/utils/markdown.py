"""Render the Markdown templates of this package."""

import json
from typing import Any


def plain(text: str) -> str:
    """Return text that neither ends a table cell or a code span, nor opens a tag."""
    return str(text).replace("|", "¦").replace("`", "'").replace("<", "‹").replace("\n", " ")


def python_string(text: str) -> str:
    """Return the literal of a string in Python, in double quotes.

    Example:
        python_string('my "model"')  # "my \\"model\\""
    """
    return json.dumps(text, ensure_ascii=False)


def render_markdown(package: str, template: str, **values: Any) -> str:
    """Render a Jinja template of a package, which has the filters `plain` and `python_string`.

    Args:
        package: the package, such as "tfhub_ft.exports".
        template: the file in it.
        values: the variables of the template.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "python_string": python_string}
    return environment.get_template(template).render(values)
