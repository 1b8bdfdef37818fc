"""Render the Markdown templates of this package."""

import json


def plain(text: object) -> str:
    """Return text without characters that end a table cell or a code span, or open a tag."""
    return str(text).replace("|", "¦").replace("`", "'").replace("<", "‹").replace("\n", " ")


def python_string(text: str) -> str:
    """Return a Python string literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def render_markdown(package: str, template: str, **values: object) -> str:
    """Render a Jinja template of a package with these variables and the filters `plain` and `python_string`."""
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
