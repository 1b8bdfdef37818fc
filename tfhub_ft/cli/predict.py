"""`tfhub-ft predict RUN|SAVED_MODEL`."""

import sys
from pathlib import Path

import click

from tfhub_ft.errors import InputError


@click.command("predict")
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="Answer its rows: csv, tsv, jsonl, txt; - is standard input.")
@click.option("--output", metavar="FILE", help="Write the answers here: csv, tsv or jsonl.")
@click.option("--text-column", metavar="NAME", help="Column of the texts in --input.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, with all probabilities.")
def command(
    model: str, texts: tuple[str, ...], source: str | None, output: str | None, text_column: str | None, as_json: bool
) -> None:
    """Answer texts by a run or an export.

    Without texts and --input, a text a line is read from standard input.

    \b
    Examples: tfhub-ft predict runs/reviews "a warm, funny film"
              tfhub-ft predict saved_models/reviews --input new.csv --output answers.csv
    """
    if texts and source:
        raise InputError("give either texts or --input, not both")
    if output and Path(output).suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"--output {output}: must end in .csv, .tsv or .jsonl")
    from tfhub_ft.data.rows import Column, check_text
    from tfhub_ft.prediction import answer_writer, predict, predict_file, write_answers
    from tfhub_ft.tasks.classification import TEXT_ALIASES

    if texts:
        answers = ({"text": text, **answer} for text, answer in zip(texts, predict(model, texts), strict=True))
    else:
        columns = [Column("text", TEXT_ALIASES, check_text, text_column, "--text-column")]
        stream = source in (None, "-")
        if stream and sys.stdin.isatty():
            raise InputError("no texts: give some, or --input FILE, or lines on standard input")
        answers = predict_file(model, sys.stdin if stream else Path(source), columns=columns)
    if output:
        click.echo(f"{output}: {write_answers(answers, Path(output)):,} answers")
        return
    write = answer_writer("jsonl", sys.stdout) if as_json else _print_line
    for answer in answers:
        write(answer)


def _print_line(answer: dict) -> None:
    click.echo(f"{answer['label']}\t{answer['score']:.4f}\t{' '.join(answer['text'].split())}")
