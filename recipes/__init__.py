"""The recipes, one module each; `tfhub_ft.recipe` lists them."""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    # The name of the recipe in version 0.1.
    if name == "chat":
        return importlib.import_module(f"{__name__}.retrieval")
    raise AttributeError(f"{__name__}: unknown name {name!r}")
