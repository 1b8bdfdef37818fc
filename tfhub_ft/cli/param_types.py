"""Types of options and arguments that a shell completes: paths, recipes and encoders."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.recipe import RECIPES

# Whether a path can be read is checked where it is read.
PATH = click.Path(readable=False)


class Name(click.Path):
    """A name, which a shell completes where it knows one, otherwise a path.

    Args:
        names: A function that returns the names that are known.
    """

    def __init__(self, names: Callable[[], Sequence[str]]):
        super().__init__(readable=False)
        self.name, self.names = "name", names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so, otherwise let the shell complete a path."""
        names = [name for name in self.names() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or super().shell_complete(ctx, param, incomplete)


def _language_models() -> list[str]:
    from tfhub_ft.language_models.presets import CATALOG

    return [model.name for model in CATALOG]


def _encoders() -> list[str]:
    return [entry.name for entry in CATALOG]


RECIPE = Name(lambda: list(RECIPES))
ENCODER = Name(_encoders)
LANGUAGE_MODEL = Name(_language_models)
PRETRAINED = Name(lambda: [*_encoders(), *_language_models()])
STUDENT = Name(lambda: ["layers:", *_encoders()])
# Settings that name something else than a path.
NAMED: dict[str, Any] = {
    "encoder": ENCODER,
    "preprocessor": ENCODER,
    "language_model": LANGUAGE_MODEL,
    "class_weight": Name(lambda: ["none", "balanced"]),
}
