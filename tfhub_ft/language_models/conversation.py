"""Conversations that one or several runs reply to."""

import contextlib
import difflib
import itertools
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.data.columns import Column, check_label, check_text
from tfhub_ft.data.rows import ReadOptions, read_all
from tfhub_ft.inference.predict import Predictor, open_predictor, predict
from tfhub_ft.language_models.chat_template import ASSISTANT, SYSTEM, USER, Message
from tfhub_ft.run import Run
from tfhub_ft.tasks.classification import LABEL_ALIASES
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import quiet
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import check_not_forked

if TYPE_CHECKING:
    from tfhub_ft.language_models.generation import ReplyWriter, Sampling

# With a run on the demo rows of retrieval, the best reply exceeds it for 81% of the prompts whose reply is in the bank,
# and for 8% of 465 other prompts: film dialogues, the demo rows of intent, small talk.
KNOWN_ABOVE = 0.4
# The default window, so that nothing is compiled during a conversation.
LEAST_CACHE = 512
NOTHING_KNOWN = "I do not know the answer to that."
# The recipe, and the task, of the run that each option takes.
RECIPES = {"intent": "intent", "retrieve": "retrieval", "generate": "dialogue"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, and its source: "intent NAME", "bank, COSINE", "written" or "nothing known"."""

    text: str
    source: str


class Conversation:
    """A conversation with one or several runs; the first that knows a reply gives it.

    Args:
        intent: Run or export of the recipe intent. A request in scope gets the answer of its intent.
        answers: File of these answers: csv, tsv or jsonl with the columns label and answer. Requests whose intent has
            none are left to the other runs. The answer of the out-of-scope label is the reply if no run knows one.
        retrieve: Run or export of the recipe retrieval. A known question gets the best reply of the bank,
            preferably one that was not given before.
        generate: Run of the recipe dialogue. It reads the whole conversation and generates all other replies.
        known_above: Cosine of a question and a reply of the bank above which the question is known. By default 0.4 with
            `generate`; otherwise every question is known.
        history: Number of earlier prompts that the run of `retrieve` reads.
        system: System prompt for `generate`; None leaves it to the run.
        sampling: Options that select generated tokens; by default the most likely ones. Each reply has its own seed,
            derived from this one.
        precision: Compute dtype of `generate`; see `open_predictor`. bfloat16 halves the weights that each token reads,
            which takes most of its time.

    Raises:
        InputError: No run is given, a run is of another recipe, or the answers are not valid.

    Example:
        conversation = Conversation(retrieve="runs/retrieval", generate="runs/dialogue")
        reply = conversation.reply("Do you mend tires?")
        print(reply.text, reply.source)
    """

    def __init__(
        self,
        *,
        intent: str | Path | Run | None = None,
        answers: str | Path | None = None,
        retrieve: str | Path | Run | None = None,
        generate: str | Path | Run | None = None,
        known_above: float | None = None,
        history: int = 0,
        system: str | None = None,
        sampling: "Sampling | None" = None,
        precision: str = "float32",
    ):
        if not (intent or retrieve or generate):
            raise InputError("a conversation needs a run: pass --intent, --retrieve or --generate")
        if bool(intent) != bool(answers):
            raise InputError("--intent and --answers belong together: pass both or neither")
        check_not_forked("a conversation")
        self._loaded_in = os.getpid()
        self._intents = _open("intent", intent) if intent else None
        self._answers = read_answers(check_path("answers", answers), self._intents) if self._intents and answers else {}
        self._bank = _open("retrieve", retrieve) if retrieve else None
        self._known_above = known_above if known_above is not None else KNOWN_ABOVE if generate else -1.0
        self._history = history
        self._used_replies: set[str] = set()
        self.writer = _load_writer(generate, precision) if generate else None
        self._sampling = sampling
        self.messages: list[Message] = [{"role": SYSTEM, "content": system}] if system else []
        self._warm_up()

    def reply(self, prompt: str) -> Reply:
        """Return the reply to a prompt.

        Raises:
            InputError: The prompt is too long for `generate`, or contains a special token. The conversation is kept.
        """
        source, parts = self.stream(prompt)
        return Reply("".join(parts), source)

    def stream(self, prompt: str) -> tuple[str, Generator[str, None, None]]:
        """Return the source of the reply to a prompt, and its parts as they are generated.

        Read the parts to their end or close them: the conversation continues from the parts that were read.

        Raises:
            InputError: See `reply`, when the first part is read; or the process was forked after the conversation was
                loaded.
        """
        check_not_forked("a conversation", self._loaded_in)
        messages = [*self.messages, {"role": USER, "content": prompt}]
        source, parts = (
            self._intent_answer(prompt)
            or self._retrieved_reply(messages)
            or self._generated_reply(messages)
            or ("nothing known", [self._answers.get(self._intents.labels[-1] if self._intents else "", NOTHING_KNOWN)])
        )
        return source, self._remember(parts, messages)

    def _remember(self, parts: Iterable[str], messages: list[Message]) -> Generator[str, None, None]:
        """Yield the parts of a reply, and add those that were read to the conversation."""
        text = ""
        try:
            for part in parts:
                text += part
                yield part
        finally:
            if text:
                self.messages = [*messages, {"role": ASSISTANT, "content": text}]

    def _intent_answer(self, prompt: str) -> tuple[str, Iterable[str]] | None:
        if self._intents is None:
            return None
        label = predict(self._intents, [prompt])[0]["label"]
        if label == self._intents.labels[-1] or label not in self._answers:
            return None
        return f"intent {label}", [self._answers[label]]

    def _retrieved_reply(self, messages: list[Message]) -> tuple[str, Iterable[str]] | None:
        if self._bank is None:
            return None
        prompts = [message["content"] for message in messages if message["role"] == USER]
        replies = predict(self._bank, [" ".join(prompts[-self._history - 1 :])])[0]["replies"]
        known = [each for each in replies if each["score"] >= self._known_above]
        if not known:
            return None
        best = next((each for each in known if each["reply"] not in self._used_replies), known[0])
        self._used_replies.add(best["reply"])
        return f"bank, {best['score']:.2f}", [best["reply"]]

    def _generated_reply(self, messages: list[Message]) -> tuple[str, Iterable[str]] | None:
        if self.writer is None:
            return None
        *earlier, last = messages
        # Replies of the other runs may contain special tokens.
        for special in self.writer.preprocessor.specials:
            earlier = [{**each, "content": each["content"].replace(special, " ")} for each in earlier]
        turn = sum(message["role"] == USER for message in messages)
        return "written", self.writer.stream([*earlier, last], self._sampling_of_turn(turn))

    def _sampling_of_turn(self, turn: int) -> "Sampling":
        from tfhub_ft.language_models.generation import Sampling

        sampling = self._sampling or Sampling()
        (seed,) = np.random.SeedSequence([sampling.seed, turn]).generate_state(1) >> 1
        return replace(sampling, seed=int(seed))

    def _warm_up(self) -> None:
        """Load and trace everything that the first prompt needs."""
        for predictor in (self._intents, self._bank):
            if predictor:
                predict(predictor, ["?"])
        if self.writer:
            messages = [*self.messages, {"role": USER, "content": "?"}]
            # XLA logs its first program.
            with quiet(), contextlib.closing(self.writer.stream(messages, self._sampling_of_turn(0))) as parts:
                list(itertools.islice(parts, 2))


def option_of(model: str | Path | Run) -> str:
    """Return the option that takes a run, "retrieve" or "generate", or raise an InputError."""
    task = open_predictor(model).task.name
    for option in ("retrieve", "generate"):
        if RECIPES[option] == task:
            return option
    raise InputError(f"{model}: its task is {task}; a conversation needs a run of the recipe retrieval or dialogue")


def read_answers(path: Path, intents: Predictor) -> dict[str, str]:
    """Return the answers in a csv, tsv or jsonl file, by intent."""
    columns = [Column("label", LABEL_ALIASES, check_label), Column("answer", ("reply", "response", "text"), check_text)]
    answers: dict[str, str] = {}
    for row in read_all(path, columns, options=ReadOptions(named=False)):
        label = row.values["label"]
        if label not in intents.labels:
            near = difflib.get_close_matches(label, intents.labels, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{path}, line {row.line}: {label!r} is not an intent of {intents.name}{advice}")
        if label in answers:
            raise InputError(f"{path}, line {row.line}: a second answer for {label!r}; keep one")
        answers[label] = row.values["answer"]
    return answers


def _open(option: str, model: str | Path | Run, precision: str = "float32") -> Predictor:
    predictor = open_predictor(model, precision=precision)
    if (task := predictor.task.name) != RECIPES[option]:
        raise InputError(f"--{option} {model}: its task is {task}; expected a run of the recipe {RECIPES[option]}")
    return predictor


def _load_writer(model: str | Path | Run, precision: str) -> "ReplyWriter":
    _open("generate", model, precision)
    from tfhub_ft.language_models.generation import ReplyWriter
    from tfhub_ft.utils.precision import dtype_policy, resolve_precision

    loaded = (model if isinstance(model, Run) else Run(model)).load_model()
    language_model = loaded.get_layer("token_model").get_layer("language_model")
    language_model.dtype_policy = dtype_policy(resolve_precision(precision))
    return ReplyWriter(loaded, least_cache=LEAST_CACHE)
