"""One module a recipe; `tfhub_ft.recipe` lists them."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Its name in version 0.1.
    if name == "chat":
        return importlib.import_module(f"{__name__}.retrieval")
    raise AttributeError(f"{__name__}: unknown name {name!r}")
