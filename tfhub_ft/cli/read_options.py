"""Options that describe a file of rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from tfhub_ft.cli.commands import option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.settings import PRECISIONS, TEMPLATES, option_name

# Settings that name columns, of all recipes, with what the columns contain.
COLUMNS = {
    "text_column": "texts",
    "first_column": "first texts",
    "second_column": "second texts",
    "label_column": "labels",
    "labels_column": "lists of labels",
    "score_column": "numbers",
    "tokens_column": "lists of tokens",
    "tags_column": "lists of tags",
    "entities_column": "lists of entities",
    "question_column": "questions",
    "context_column": "passages",
    "answers_column": "answers",
    "messages_column": "dialogues",
    "prompt_column": "prompts",
    "reply_column": "replies",
}
_data = partial(option, group="Data")
_columns = partial(option, group="Columns that differ from those of training")


def reading_options(*, labels: bool) -> Callable[[Any], Any]:
    """Return a decorator that adds the options that describe a file of rows, which may have labels."""
    header = "as in training" if labels else "header"
    options = [
        _data("--skip-bad-rows", is_flag=True, help="Skip and count rows that cannot be read."),
        _data("--delimiter", metavar="CHAR", help="Delimiter of csv and tsv files: ';', tab ... [default: detected]"),
        _data("--encoding", metavar="NAME", help="Encoding of text files, like cp1252. [default: detected or UTF-8]"),
        _data(
            "--header/--no-header",
            default=None,
            help=f"Whether csv, tsv and xlsx files start with a header line. [default: {header}]",
        ),
    ]
    if labels:
        help = "Separator of the labels in a multi-label cell. [default: detected]"
        options.append(_data("--label-separator", metavar="TEXT", help=help))
        for name, content in COLUMNS.items():
            options.append(_columns(option_name(name), metavar="NAME", help=f"Column of the {content}."))
            if template := TEMPLATES.get(name):
                options.append(template_option(option_name(template), content=content))

    def add(function: Any) -> Any:
        for each in reversed(options):
            function = each(function)
        return function

    return add


def template_option(*names: str, content: str) -> Callable[[Any], Any]:
    """Return the decorator that adds an option for a text that is composed of columns."""
    help = f"Template of the {content} from columns, whose names are in braces: '{{title}}. {{body}}'."
    return _columns(*names, metavar="TEMPLATE", help=help)


def data_option(*, required: bool, help: str) -> Callable[[Any], Any]:
    """Return the decorator that adds --data."""
    return _data("--data", type=PATH, required=required, metavar="FILE", help=help)


def json_option() -> Callable[[Any], Any]:
    """Return the decorator that adds --json."""
    return option("--json", "as_json", is_flag=True, group="Output", help="Print JSON.")


def precision_option(subject: str) -> Callable[[Any], Any]:
    """Return the decorator that adds --precision, the compute dtype of the subject."""
    help = f"Compute dtype of the {subject}; auto is bfloat16 where the hardware is fast at it."
    return option("--precision", type=click.Choice(PRECISIONS), default="float32", group="Runtime", help=help)
