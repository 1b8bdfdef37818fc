"""Import objects by their dotted names."""

import importlib
from typing import Any


def imported(name: str) -> Any:
    """Return the object with a dotted name, such as "tfhub_ft.exports.context.ExportContext"."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
