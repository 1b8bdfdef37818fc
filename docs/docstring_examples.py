"""Show the examples and call arguments of docstrings as code in the API reference."""

import re
import textwrap

import griffe

EXAMPLE = re.compile(r"^Examples?:\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)


class DocstringExamples(griffe.Extension):
    """An extension of griffe that puts the examples of docstrings into code blocks."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(as_code, f"{obj.docstring.value}\n").rstrip("\n")


def as_code(match):
    """Return the example of a docstring as a section with a code block."""
    block = f"```python\n{textwrap.dedent(match[1]).strip()}\n```"
    return f"Examples:\n{textwrap.indent(block, '    ')}\n\n"
