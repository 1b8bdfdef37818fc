"""`tfhub-ft chat RUN`."""

import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.read_options import precision_option
from tfhub_ft.utils.console import decode_input, log, printable
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.language_models.conversation import Conversation


_model = partial(option, group="Models")
_generation = partial(option, group="Generation")


@click.command("chat", cls=Command)
@click.argument("model", type=PATH, required=False, metavar="[RUN]")
@_model("--intent", type=PATH, metavar="RUN", help="Run or export of the recipe intent, which answers known requests.")
@_model("--answers", type=PATH, metavar="FILE", help="Answers for --intent: a file with the columns label and answer.")
@_model("--retrieve", type=PATH, metavar="RUN", help="Run or export of the recipe retrieval, for known questions.")
@_model("--generate", type=PATH, metavar="RUN", help="Run of the recipe dialogue, which replies to everything else.")
@_model("--say-source", is_flag=True, help="Print the source of each reply before it.")
@_model(
    "--known-above",
    type=click.FloatRange(-1, 1),
    help="Minimum cosine similarity between a question and a reply of the retrieval bank."
    " [default: 0.4 with --generate, -1 without]",
)
@_model("--history", default=0, type=click.IntRange(0), help="Number of earlier prompts the retrieval model reads.")
@_generation("--system", metavar="TEXT", help="System prompt of the dialogue model. [default: that of the run]")
@_generation(
    "--temperature",
    default=0.0,
    type=click.FloatRange(0),
    help="Sampling temperature; 0 always picks the likeliest token.",
)
@_generation(
    "--top-p",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    help="Nucleus sampling: sample from the likeliest tokens with this total probability.",
)
@_generation("--seed", default=0, type=click.IntRange(0, 2**31 - 1), help="Random seed of sampling.")
@_generation("--max-tokens", default=128, type=click.IntRange(1), help="Maximum number of tokens of a reply.")
@precision_option("dialogue model")
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
    **sampling: Any,
) -> None:
    """Chat with a retrieval or dialogue run in the terminal.

    An empty line or Ctrl-D ends the chat.

    A dialogue run writes each reply and reads as much of the conversation as fits into its context; Ctrl-C stops a
    reply. A retrieval run picks the best reply of its bank, and does not repeat one while others are left.

    Several runs work together: --intent answers first, then --retrieve, and --generate answers the rest. Each of them
    is optional.

    \b
    Example: tfhub-ft chat runs/dialogue --temperature 0.7 --top-p 0.9
             tfhub-ft chat --intent runs/intents --answers answers.csv --generate runs/dialogue
    """
    if model and (intent or retrieve or generate):
        raise InputError(f"{model}: pass either one run or --intent, --retrieve and --generate")
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
        raise InputError("standard input: a line is not UTF-8; encode it as UTF-8") from None


def _answer(conversation: "Conversation", prompt: str, say_source: bool) -> None:
    source, parts = conversation.stream(prompt)
    prefix = f"[{source}] " if say_source else ""
    # Ctrl-C stops the reply, not the chat.
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(parts):
        for part in parts:
            print(prefix + printable(part), end="", flush=True)
            prefix = ""
    print(prefix)
    if source == "written" and conversation.writer:
        log(f"{conversation.writer.tokens_per_second:.1f} tokens per second")
