"""`tfhub-ft predict RUN|SAVED_MODEL`."""

import codecs
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import precision_option, reading_options, template_option
from tfhub_ft.settings import option_name
from tfhub_ft.utils.console import decode_input, printable
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, is_pattern, matching_files
from tfhub_ft.utils.remote import as_path

if TYPE_CHECKING:
    from tfhub_ft.data.texts import TextRow
    from tfhub_ft.inference.files import PredictedRow
    from tfhub_ft.inference.predict import Predictor
    from tfhub_ft.tasks.base import Task

_data = partial(option, group="Data")
_output = partial(option, group="Output")


class PredictCommand(Command):
    """The command `predict`, whose arguments may be texts that start with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; the error for an unknown option says how to pass it as a text."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            message = f"{error.message} Put -- before texts that start with a dash."
            raise click.NoSuchOption(error.option_name, message, error.possibilities, ctx) from None


@click.command("predict", cls=PredictCommand)
@click.argument("model", type=PATH)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@_data(
    "--input",
    "source",
    type=PATH,
    metavar="FILE",
    help="File of rows to predict: csv, tsv, jsonl, json, txt, parquet, xlsx ..., a folder of txt files or a URL; - is"
    " standard input; a pattern such as 'part-*.jsonl' is many files.",
)
@_data("--text-column", "--prompt-column", "text_column", metavar="NAME", help="Column of the texts.")
@template_option("--text", "--prompt-text", "text", content="texts")
@_data("--first-column", "--question-column", "first_column", metavar="NAME", help="Column of first texts, questions.")
@template_option("--first-text", content="first texts")
@_data("--second-column", "--context-column", "second_column", metavar="NAME", help="Column of second texts, passages.")
@template_option("--second-text", content="second texts")
@reading_options(labels=False)
@_output(
    "--output",
    type=PATH,
    metavar="FILE",
    help="File to write: csv, tsv, jsonl or parquet. For a pattern, a folder; finished files in it are kept.",
)
@_output("--keep-columns", is_flag=True, hidden=True, expose_value=False)
@_output("--spreadsheet-safe", is_flag=True, help="Put an apostrophe before texts that are formulas in a spreadsheet.")
@_output("--explain", is_flag=True, help="Add the words that made each prediction, for labels and numbers of a run.")
@_output("--json", "as_json", is_flag=True, help="Print a JSON object per row, with all probabilities.")
@precision_option("model")
def command(
    model: str,
    texts: tuple[str, ...],
    source: str | None,
    output: str | None,
    spreadsheet_safe: bool,
    explain: bool,
    skip_bad_rows: bool,
    delimiter: str | None,
    encoding: str | None,
    header: bool | None,
    precision: str,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Predict texts with a run or an export. Models of text pairs take two texts per prediction.

    Without texts and --input, texts are read from standard input, one per line (two per line for pairs, separated by a
    tab). An empty line or row gets an empty prediction, so that the output lines up with the input.

    \b
    Example: tfhub-ft predict runs/reviews "a warm, funny film"
             tfhub-ft predict runs/pairs "It rains." "The street is wet."
             tfhub-ft predict saved_models/reviews --input new.csv --output labeled.csv
             tfhub-ft predict runs/reviews --input 'corpus/part-*.jsonl' --output labeled
    """
    from tfhub_ft.data.row_writers import check_suffix, row_writer

    if source == "":
        raise InputError("--input: the name is empty; pass a file, or - for standard input")
    if texts and source:
        raise InputError("--input: cannot be combined with texts; pass one of the two")
    named = [option_name(name) for name, value in columns.items() if value is not None]
    if texts and named:
        raise InputError(f"{named[0]}: names a column, but texts have none; leave it out, or pass --input FILE")
    shards = matching_files(source) if source and is_pattern(source) else []
    if shards and not output:
        raise InputError(f"--input {source}: matches {len(shards)} files; pass a folder as --output")
    if output and not shards:
        check_suffix(Path(output))
    if spreadsheet_safe and not shards and Path(output or "").suffix.lower() not in (".csv", ".tsv"):
        raise InputError("--spreadsheet-safe: requires an --output that ends in .csv or .tsv")
    from tfhub_ft.data.texts import TextRows
    from tfhub_ft.inference.files import output_row, predict_file, write_predictions
    from tfhub_ft.inference.predict import open_predictor
    from tfhub_ft.run import run_files

    predictor = open_predictor(model, precision=precision)
    predictor = predictor.explaining if explain else predictor
    if output and not shards:
        inputs = [as_path(source if source and source != "-" else "/dev/stdin"), Path(model), *run_files(Path(model))]
        check_output(Path(output), "--output", inputs)
    reading = {
        "columns": predictor.columns(**columns),
        "options": predictor.read_options(delimiter=delimiter, encoding=encoding, header=header is not False),
        "skip_bad_rows": skip_bad_rows,
    }
    if shards and output:
        made_with = {name: value for name, value in {"explain": explain, **columns}.items() if value}
        reading |= {"made_with": made_with, "spreadsheet_safe": spreadsheet_safe}
        _predict_shards(predictor, shards, Path(output), reading)
        return
    if texts:
        rows, predicted = None, _predict_arguments(predictor, texts)
    else:
        stream = source in (None, "-")
        if stream and sys.stdin.isatty():
            raise InputError("no texts: pass texts, --input FILE or lines on standard input")
        is_utf8 = codecs.lookup(sys.stdin.encoding or "utf-8").name == "utf-8"
        if stream and not is_utf8 and not reading["options"].usual_encoding:
            reading["options"] = replace(reading["options"], usual_encoding=sys.stdin.encoding)
        rows = TextRows(sys.stdin if stream else as_path(source or ""), **reading)
        if rows.by_line and named:
            raise InputError(f"{named[0]}: names a column, but {rows.name} has a text per line; leave it out")
        predicted = predict_file(predictor, rows)
    if output:
        count = write_predictions(predicted, Path(output), rows, spreadsheet_safe=spreadsheet_safe)
        print(f"{output}: {count:,} predictions")
        return
    write_json, print_line = row_writer("jsonl", sys.stdout), _print_explained if explain else _print_line
    for row, prediction in predicted:
        if as_json:
            write_json(output_row(row, prediction))
        else:
            print_line(row, prediction, predictor.task)


def _predict_arguments(predictor: "Predictor", texts: Sequence[str]) -> "list[PredictedRow]":
    """Return the rows of the texts of the command line with their predictions."""
    from tfhub_ft.data.texts import TextRow
    from tfhub_ft.inference.predict import predict, warn_of_truncation

    fields = predictor.task.fields
    rows = _grouped([_decoded(text, number) for number, text in enumerate(texts, 1)], fields)
    predictions = predict(predictor, rows)
    warn_of_truncation(predictor, rows)
    text_rows = (TextRow("", row, row, dict(zip(fields, row, strict=True))) for row in rows)
    return list(zip(text_rows, predictions, strict=True))


def _predict_shards(predictor: "Predictor", shards: list[Path], folder: Path, reading: dict[str, Any]) -> None:
    from tfhub_ft.inference.files import predict_shards

    rows = 0
    for file, count in predict_shards(predictor, shards, folder, **reading):
        rows += count
        print(f"{file}: {count:,} predictions" if count else f"{file}: already complete", file=sys.stderr)
    print(f"{folder}: {len(shards):,} files, {rows:,} predictions")


def _decoded(argument: str, number: int) -> str:
    """Return an argument as text; Python leaves lone surrogates in place of bytes that it cannot decode."""
    try:
        return decode_input(argument.encode("utf-8", "surrogateescape"))
    except UnicodeError:
        raise InputError(f"text {number}: not UTF-8; set the locale to the encoding of the terminal") from None


def _grouped(texts: Sequence[str], fields: tuple[str, ...]) -> list[tuple[str, ...]]:
    if len(texts) % len(fields):
        raise InputError(f"expected {' and '.join(fields)} for each prediction, got texts: {len(texts)}")
    return [tuple(texts[start : start + len(fields)]) for start in range(0, len(texts), len(fields))]


def _print_line(row: "TextRow", prediction: dict, task: "Task") -> None:
    texts = [" ".join(_last_content(text).split()) for text in row.texts]
    print(printable("\t".join([*_cells(prediction, task), *texts])))


def _print_explained(row: "TextRow", prediction: dict, task: "Task") -> None:
    """Print a line for a prediction with the words that made it, in colors on a terminal, otherwise their numbers."""
    from tfhub_ft.cli.explained_text import format_words, print_in_colors, shows_colors

    words = prediction["explanation"] or []
    cells = _cells({name: value for name, value in prediction.items() if not name.startswith("explanation")}, task)
    if shows_colors():
        print_in_colors(cells, row.texts, task.fields, words)
    else:
        texts = [" ".join(text.split()) for text in row.texts]
        print(printable("\t".join([*cells, *texts, format_words(words) or "-"])))


def _cells(prediction: dict, task: "Task") -> list[str]:
    names = task.display_fields or [name for name, value in prediction.items() if _is_plain(value)]
    return [_format(prediction[name]) for name in names]


def _last_content(segment: str | list[dict[str, str]]) -> str:
    """Return a text, or the content of the last message."""
    return segment if isinstance(segment, str) else segment[-1]["content"]


def _is_plain(value: object) -> bool:
    return not isinstance(value, dict) and not (
        isinstance(value, list) and any(isinstance(each, dict) for each in value)
    )


def _format(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_format, value)) or "-"
    if isinstance(value, dict):
        return f"{value['text']} [{value['label']} {value['start']}-{value['end']}]"
    if value is None or value == "":
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())
