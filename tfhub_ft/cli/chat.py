"""`tfhub-ft chat RUN`: a conversation in the terminal."""

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.utils.console import decode_input, log, printable
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.language_models.conversation import Conversation


@click.command("chat")
@click.argument("model", type=PATH, required=False, metavar="[RUN]")
@click.option(
    "--intent", type=PATH, metavar="RUN", help="A run or export of the recipe intent, asked first: it knows requests."
)
@click.option(
    "--answers", type=PATH, metavar="FILE", help="Its intents' answers: csv, tsv or jsonl, columns label and answer."
)
@click.option(
    "--retrieve",
    type=PATH,
    metavar="RUN",
    help="A run or export of the recipe retrieval, asked next: it knows questions.",
)
@click.option(
    "--generate", type=PATH, metavar="RUN", help="A run of the recipe dialogue: it writes the reply to all else."
)
@click.option("--say-source", is_flag=True, help="Put before each answer where it came from.")
@click.option(
    "--known-above",
    type=click.FloatRange(-1, 1),
    help="Cosine with a reply of the bank that makes a question known. [default: 0.4 with --generate, -1 without]",
)
@click.option("--history", default=0, type=click.IntRange(0), help="Earlier prompts that the bank reads. [default: 0]")
@click.option("--system", metavar="TEXT", help="System prompt of what is written; by default the run's own.")
@click.option(
    "--temperature",
    default=0.0,
    type=click.FloatRange(0),
    help="0 writes the likeliest tokens; above it they are drawn, the more freely the higher. [default: 0]",
)
@click.option(
    "--top-p",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    help="Draw from the likeliest tokens that have this much of the probability. [default: 1]",
)
@click.option("--seed", default=0, type=click.IntRange(0, 2**31 - 1), help="Seed of the draws. [default: 0]")
@click.option("--max-tokens", default=128, type=click.IntRange(1), help="Most tokens of a reply. [default: 128]")
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="NAME",
    help="Of the matrix products of what writes: float32, bfloat16, float16, or auto.",
)
def command(
    model: str | None,
    intent: str | None,
    answers: str | None,
    retrieve: str | None,
    generate: str | None,
    say_source: bool,
    known_above: float | None,
    history: int,
    system: str | None,
    precision: str,
    **sampling: float,
) -> None:
    """Talk with a run of the recipe retrieval or dialogue. An empty line, or Ctrl-D, ends it.

    A run of dialogue writes its replies, and reads the whole conversation, as far as it fits into its window; Ctrl-C
    ends a reply. A run of retrieval gives the best reply of its bank, and none twice while there is another.

    Several runs are named by options. --intent answers the requests that it knows, --retrieve the questions that it
    knows, and --generate all else; any of them may be left out.

    \b
    Examples: tfhub-ft chat runs/dialogue --temperature 0.7 --top-p 0.9
              tfhub-ft chat --intent runs/intents --answers answers.csv --retrieve runs/replies --generate runs/dialogue
    """
    if model and (intent or retrieve or generate):
        raise InputError(f"{model} stands beside other runs: name it by --retrieve or --generate, too")
    from tfhub_ft.language_models.conversation import Conversation, option_of
    from tfhub_ft.language_models.generation import Sampling

    runs = {option_of(model): model} if model else {"intent": intent, "retrieve": retrieve, "generate": generate}
    conversation = Conversation(
        **runs,
        answers=answers,
        known_above=known_above,
        history=history,
        system=system,
        sampling=Sampling(**sampling),
        precision=precision,
    )
    while prompt := _read():
        try:
            _answer(conversation, prompt, say_source)
        except InputError as error:
            if not sys.stdin.isatty():
                raise
            print(f"Error: {error}", file=sys.stderr)


def _read() -> str:
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    try:
        return decode_input(sys.stdin.buffer.readline()).strip()
    except UnicodeDecodeError:
        raise InputError("standard input: a line is not UTF-8 text; save it as UTF-8") from None


def _answer(conversation: "Conversation", prompt: str, say_source: bool) -> None:
    source, parts = conversation.stream(prompt)
    begin = f"[{source}] " if say_source else ""
    # Ctrl-C ends the reply alone.
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(parts):
        for part in parts:
            print(begin + printable(part), end="", flush=True)
            begin = ""
    print(begin)
    if source == "written":
        log(f"{conversation.writer.tokens_per_second:.1f} tokens a second")
