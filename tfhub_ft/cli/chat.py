"""`tfhub-ft chat RUN`: a conversation in the terminal."""

import difflib
import sys
from collections.abc import Callable
from pathlib import Path

import click

from tfhub_ft.errors import InputError


@click.command("chat")
@click.argument("model")
@click.option("--history", default=0, type=click.IntRange(0), help="Earlier prompts read along. [default: 0]")
@click.option("--intents", metavar="RUN", help="A run or export of the recipe intent: its intents are answered first.")
@click.option(
    "--answers", metavar="FILE", help="The answer of each intent: csv, tsv or jsonl, columns label and answer."
)
def command(model: str, history: int, intents: str | None, answers: str | None) -> None:
    """Talk with a run or export of the recipe chat. An empty line, or Ctrl-D, ends it.

    A reply is not given twice while there is another. With --intents and --answers a request in scope gets the answer
    of its intent; all else gets the best reply.

    Example: tfhub-ft chat runs/chat --intents runs/intents --answers answers.csv
    """
    if bool(intents) != bool(answers):
        raise InputError("--intents and --answers belong together: give both or neither")
    reply_to = _retrieved(model, history)
    if intents and answers:
        reply_to = _answered_first(intents, answers, otherwise=reply_to)
    while prompt := _read():
        click.echo(reply_to(prompt))


def _read() -> str:
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    try:
        line = sys.stdin.readline().strip()
        # Some locales let other bytes in, as halves of characters.
        line.encode()
    except UnicodeError:
        raise InputError("standard input: a line is not UTF-8 text") from None
    return line


def _retrieved(model: str, history: int) -> Callable[[str], str]:
    from tfhub_ft.prediction import open_predictor, predict

    predictor = open_predictor(model)
    if predictor.task.name != "retrieval":
        raise InputError(f"{model} answers with {predictor.task.name}: a conversation needs a run of the recipe chat")
    prompts: list[str] = []
    said: set[str] = set()

    def reply_to(prompt: str) -> str:
        prompts.append(prompt)
        answer = predict(predictor, [" ".join(prompts[-history - 1 :])])[0]
        ranked = [each["reply"] for each in answer["replies"]]
        reply = next((reply for reply in ranked if reply not in said), ranked[0])
        said.add(reply)
        return reply

    return reply_to


def _answered_first(intents: str, file: str, *, otherwise: Callable[[str], str]) -> Callable[[str], str]:
    from tfhub_ft.data.rows import Column, check_label, check_text, read_all
    from tfhub_ft.prediction import open_predictor, predict
    from tfhub_ft.tasks.classification import LABEL_ALIASES

    columns = [Column("label", LABEL_ALIASES, check_label), Column("answer", ("reply", "response", "text"), check_text)]
    rows = read_all(Path(file), columns)
    predictor = open_predictor(intents)
    if predictor.task.name != "intent":
        raise InputError(
            f"--intents {intents} answers with {predictor.task.name}: it must be a run of the recipe intent"
        )
    answers: dict[str, str] = {}
    for row in rows:
        label = row.values["label"]
        if label not in predictor.labels:
            near = difflib.get_close_matches(label, predictor.labels, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{file}, line {row.line}: {label!r} is no intent of {intents}{advice}")
        if label in answers:
            raise InputError(f"{file}, line {row.line}: a second answer of {label!r}; one is given")
        answers[label] = row.values["answer"]

    def reply_to(prompt: str) -> str:
        label = predict(predictor, [prompt])[0]["label"]
        return answers[label] if label in answers else otherwise(prompt)

    return reply_to
