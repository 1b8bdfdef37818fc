"""`tfhub-ft predict RUN|SAVED_MODEL`."""

import codecs
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import reading_options
from tfhub_ft.utils.console import decode_input, printable
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_output, is_pattern, matching_files

if TYPE_CHECKING:
    from tfhub_ft.inference.predict import Predictor
    from tfhub_ft.tasks.base import Task


@click.command("predict")
@click.argument("model", type=PATH)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--input",
    "source",
    type=PATH,
    metavar="FILE",
    help="Predict its rows: csv, tsv, jsonl, json, txt ...; - is standard input; 'part-*.jsonl' are many files.",
)
@click.option(
    "--output",
    type=PATH,
    metavar="FILE",
    help="Write the answers here: csv, tsv or jsonl; of many files, a folder, and go on there.",
)
@click.option("--keep-columns", is_flag=True, help="Copy the other columns of --input, such as an id, to the output.")
@click.option(
    "--spreadsheet-safe",
    is_flag=True,
    help="In csv and tsv, put an apostrophe before texts that a spreadsheet would take for a formula.",
)
@click.option("--text-column", "--prompt-column", "text_column", metavar="NAME", help="Column of the texts in --input.")
@click.option(
    "--first-column",
    "--question-column",
    "first_column",
    metavar="NAME",
    help="Column of a pair's first text (or the question) in --input.",
)
@click.option(
    "--second-column",
    "--context-column",
    "second_column",
    metavar="NAME",
    help="Column of a pair's second text (or the passage) in --input.",
)
@reading_options(labels=False)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="NAME",
    help="Of a run's matrix products: float32, bfloat16, float16, or auto.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, with all probabilities.")
def command(
    model: str,
    texts: tuple[str, ...],
    source: str | None,
    output: str | None,
    keep_columns: bool,
    spreadsheet_safe: bool,
    skip_bad_rows: bool,
    delimiter: str | None,
    encoding: str | None,
    header: bool | None,
    precision: str,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Predict texts by a run or an export. A recipe of pairs reads two texts for each prediction.

    Without texts and --input, a text a line is read from standard input (a tab between the two of a pair). A line or a
    row without a text has an empty prediction, so that predictions line up with the input.

    \b
    Examples: tfhub-ft predict runs/reviews "a warm, funny film"
              tfhub-ft predict runs/pairs "It rains." "The street is wet."
              tfhub-ft predict saved_models/reviews --input new.csv --output answers.csv --keep-columns
              tfhub-ft predict runs/reviews --input 'corpus/part-*.jsonl' --output answers
    """
    if texts and source:
        raise InputError("give either texts or --input, not both")
    shards = matching_files(source) if source and is_pattern(source) else []
    if shards and not output:
        raise InputError(f"--input {source} are {len(shards)} files: --output must name a folder for their answers")
    if output and not shards and Path(output).suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"--output {output}: must end in .csv, .tsv or .jsonl")
    if spreadsheet_safe and not shards and Path(output or "").suffix.lower() not in (".csv", ".tsv"):
        raise InputError("--spreadsheet-safe: needs an --output that ends in .csv or .tsv")
    from tfhub_ft.inference.predict import (
        answer_writer,
        open_predictor,
        predict,
        predict_file,
        warn_of_truncation,
        write_answers,
    )
    from tfhub_ft.run import run_files

    predictor = open_predictor(model, precision=precision)
    if output and not shards:
        inputs = [Path("/dev/stdin" if source in (None, "-") else source), Path(model), *run_files(Path(model))]
        check_output(Path(output), "--output", inputs)
    fields = predictor.task.fields
    how = {
        "columns": predictor.task.columns(labeled=False, settings=SimpleNamespace(**columns)),
        "options": predictor.read_options(delimiter=delimiter, encoding=encoding, header=header is not False),
        "skip_bad_rows": skip_bad_rows,
        "keep_columns": keep_columns,
    }
    if shards:
        _answer_shards(predictor, shards, Path(output), {**how, "spreadsheet_safe": spreadsheet_safe})
        return
    if texts:
        rows = _grouped([_decoded(text, number) for number, text in enumerate(texts, 1)], fields)
        named = (dict(zip(fields, row, strict=True)) for row in rows)
        answers = ({**row, **answer} for row, answer in zip(named, predict(predictor, rows), strict=True))
        warn_of_truncation(predictor, rows)
    else:
        stream = source in (None, "-")
        if stream and sys.stdin.isatty():
            raise InputError("no texts: give some, or --input FILE, or lines on standard input")
        is_utf8 = codecs.lookup(sys.stdin.encoding or "utf-8").name == "utf-8"
        if stream and not is_utf8 and not how["options"].usual_encoding:
            how["options"] = replace(how["options"], usual_encoding=sys.stdin.encoding)
        answers = predict_file(predictor, sys.stdin if stream else Path(source), **how)
    if output:
        count = write_answers(answers, Path(output), spreadsheet_safe=spreadsheet_safe)
        print(f"{output}: {count:,} answers")
        return
    write = answer_writer("jsonl", sys.stdout) if as_json else lambda answer: _print_line(answer, predictor.task)
    for answer in answers:
        write(answer)


def _answer_shards(predictor: "Predictor", shards: list[Path], folder: Path, how: dict[str, Any]) -> None:
    from tfhub_ft.inference.predict import predict_shards

    rows = 0
    for file, count in predict_shards(predictor, shards, folder, **how):
        rows += count
        print(f"{file}: {count:,} answers" if count else f"{file}: was there", file=sys.stderr)
    print(f"{folder}: {len(shards):,} files, {rows:,} answers")


def _decoded(argument: str, number: int) -> str:
    """Return an argument as text; Python leaves lone surrogates in place of bytes that it cannot decode."""
    try:
        return decode_input(argument.encode("utf-8", "surrogateescape"))
    except UnicodeError:
        raise InputError(f"text {number}: not UTF-8; set the locale to the encoding of the terminal") from None


def _grouped(texts: Sequence[str], fields: tuple[str, ...]) -> list[tuple[str, ...]]:
    if len(texts) % len(fields):
        raise InputError(f"{len(texts)} texts: this model reads {' and '.join(fields)} of each row")
    return [texts[start : start + len(fields)] for start in range(0, len(texts), len(fields))]


def _print_line(answer: dict, task: "Task") -> None:
    names = task.display_fields or [
        name for name, value in answer.items() if name not in task.fields and _is_plain(value)
    ]
    read = [" ".join(_last(answer[field]).split()) for field in task.fields]
    print(printable("\t".join([*(_said(answer[name]) for name in names), *read])))


def _last(segment: str | list[dict[str, str]]) -> str:
    """A text, or the last one of messages."""
    return segment if isinstance(segment, str) else segment[-1]["content"]


def _is_plain(value: object) -> bool:
    return not isinstance(value, dict) and not (
        isinstance(value, list) and any(isinstance(each, dict) for each in value)
    )


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "-"
    if isinstance(value, dict):
        return f"{value['text']} [{value['label']} {value['start']}-{value['end']}]"
    if value is None or value == "":
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())
