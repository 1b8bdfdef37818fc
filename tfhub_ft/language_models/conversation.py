"""A conversation: known requests get their intent's answer, known questions a reply of a bank, others a new one."""

import contextlib
import difflib
import itertools
import os
from collections.abc import Iterable, Iterator
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

# By a run on the demo rows of retrieval, 81% of the prompts whose reply is in its bank have more, and 8% of 465 prompts
# of other kinds: film dialogues, the demo rows of intent, small talk.
KNOWN_ABOVE = 0.4
# As long as the window is by default: then nothing is compiled within a conversation.
LEAST_CACHE = 512
NOTHING_KNOWN = "I have no answer to that."
# The recipe of each kind of run, and its task.
RECIPES = {"intent": ("intent", "intent"), "retrieve": ("retrieval", "retrieval"), "generate": ("dialogue", "dialogue")}


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a prompt.

    Args:
        text: the answer.
        source: where it came from: "intent NAME", "bank, COSINE", "written", or "nothing known".
    """

    text: str
    source: str


class Conversation:
    """A conversation with one run or more: the first of them that knows an answer gives it.

    Args:
        intent: a run or export of the recipe intent: a request in scope gets the answer of its intent.
        answers: the file of these answers: csv, tsv or jsonl, columns label and answer. An intent that has none is left
            to the others; the out-of-scope label's is given where none of them knows one.
        retrieve: a run or export of the recipe retrieval: a known question gets a reply of its bank, one that was not
            given yet while there is one.
        generate: a run of the recipe dialogue: it writes the reply to all else, and reads the whole conversation,
            whoever answered.
        known_above: the cosine with a reply of the bank that makes a question a known one. By default 0.4 where a run
            writes the rest; otherwise every question is one.
        history: earlier prompts that the bank reads along.
        system: the system prompt of what is written; None leaves it to the run.
        sampling: how the tokens of what is written are chosen; by default the likeliest ones. Each reply draws by a
            seed of its own, which follows from this one.
        precision: of the matrix products of what writes; see `open_predictor`. Weights in bfloat16 are read in half of
            the time, which is most of what a token takes.

    Raises:
        InputError: no run is given, one is of another recipe, or the answers are not as they must be.

    Example:
        conversation = Conversation(retrieve="runs/retrieval", generate="runs/dialogue")
        reply = conversation.reply("Do you mend tyres?")
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
            raise InputError("a conversation needs a run: give --intent, --retrieve or --generate")
        if bool(intent) != bool(answers):
            raise InputError("--intent and --answers belong together: give both or neither")
        check_not_forked("a conversation")
        self._loaded_in = os.getpid()
        self._intents = _opened("intent", intent) if intent else None
        self._answers = read_answers(check_path("answers", answers), self._intents) if self._intents and answers else {}
        self._bank = _opened("retrieve", retrieve) if retrieve else None
        self._known_above = known_above if known_above is not None else KNOWN_ABOVE if generate else -1.0
        self._history = history
        self._given: set[str] = set()
        self.writer = _writer(generate, precision) if generate else None
        self._sampling = sampling or _likeliest()
        self.messages: list[Message] = [{"role": SYSTEM, "content": system}] if system else []
        self._make_ready()

    def reply(self, prompt: str) -> Reply:
        """Answer a prompt.

        Raises:
            InputError: it is too long for what writes, or holds a special token; the conversation can go on.
        """
        source, parts = self.stream(prompt)
        return Reply("".join(parts), source)

    def stream(self, prompt: str) -> tuple[str, Iterator[str]]:
        """Answer a prompt part by part, as it is written.

        Returns:
            Where the answer comes from, as in `Reply`, and its parts. They are to be read to their end or closed: the
            conversation goes on from what was said.

        Raises:
            InputError: as for `reply`, where the first part is read; or the process was forked after the conversation
                was loaded.
        """
        check_not_forked("a conversation", self._loaded_in)
        messages = [*self.messages, {"role": USER, "content": prompt}]
        source, parts = (
            self._answer_of_intent(prompt)
            or self._reply_of_bank(messages)
            or self._written_reply(messages)
            or ("nothing known", [self._answers.get(self._outside, NOTHING_KNOWN)])
        )
        return source, self._said(parts, messages)

    def _said(self, parts: Iterable[str], messages: list[Message]) -> Iterator[str]:
        """The parts of an answer, which the conversation keeps as far as they were read."""
        said = ""
        try:
            for part in parts:
                said += part
                yield part
        finally:
            if said:
                self.messages = [*messages, {"role": ASSISTANT, "content": said}]

    @property
    def _outside(self) -> str | None:
        return self._intents.labels[-1] if self._intents else None

    def _answer_of_intent(self, prompt: str) -> tuple[str, Iterable[str]] | None:
        if self._intents is None:
            return None
        label = predict(self._intents, [prompt])[0]["label"]
        if label == self._outside or label not in self._answers:
            return None
        return f"intent {label}", [self._answers[label]]

    def _reply_of_bank(self, messages: list[Message]) -> tuple[str, Iterable[str]] | None:
        if self._bank is None:
            return None
        prompts = [message["content"] for message in messages if message["role"] == USER]
        replies = predict(self._bank, [" ".join(prompts[-self._history - 1 :])])[0]["replies"]
        known = [each for each in replies if each["score"] >= self._known_above]
        if not known:
            return None
        best = next((each for each in known if each["reply"] not in self._given), known[0])
        self._given.add(best["reply"])
        return f"bank, {best['score']:.2f}", [best["reply"]]

    def _written_reply(self, messages: list[Message]) -> tuple[str, Iterable[str]] | None:
        if self.writer is None:
            return None
        turn = sum(message["role"] == USER for message in messages)
        return "written", self.writer.stream(self._readable(messages), _of_turn(self._sampling, turn))

    def _readable(self, messages: list[Message]) -> list[Message]:
        """The messages, of which those before the last one may hold special tokens: the bank knows no such thing."""
        *before, last = messages
        for special in self.writer.preprocessor.specials:
            before = [{**each, "content": each["content"].replace(special, " ")} for each in before]
        return [*before, last]

    def _make_ready(self) -> None:
        """Load and trace what the first prompt would have to wait for."""
        for predictor in (self._intents, self._bank):
            if predictor:
                predict(predictor, ["?"])
        if self.writer:
            asked = [*self.messages, {"role": USER, "content": "?"}]
            # XLA tells of its first program.
            with quiet(), contextlib.closing(self.writer.stream(asked, self._sampling)) as parts:
                list(itertools.islice(parts, 2))


def option_of(model: str | Path | Run) -> str:
    """Whether a run answers by its bank ("retrieve") or by writing ("generate").

    Raises:
        InputError: it does neither.
    """
    name = open_predictor(model).task.name
    options = {RECIPES[option][1]: option for option in ("retrieve", "generate")}
    if name not in options:
        raise InputError(f"{model} answers with {name}: a conversation needs a run of the recipe retrieval or dialogue")
    return options[name]


def read_answers(path: Path, intents: Predictor) -> dict[str, str]:
    """The answers in a file, by intent.

    Args:
        path: a csv, tsv or jsonl file with the columns label and answer.
        intents: what tells the intents.

    Raises:
        InputError: the file is not as it must be, or it has an intent that there is not, or one twice.
    """
    columns = [Column("label", LABEL_ALIASES, check_label), Column("answer", ("reply", "response", "text"), check_text)]
    answers: dict[str, str] = {}
    for row in read_all(path, columns, options=ReadOptions(named=False)):
        label = row.values["label"]
        if label not in intents.labels:
            near = difflib.get_close_matches(label, intents.labels, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{path}, line {row.line}: {label!r} is no intent of {intents.name}{advice}")
        if label in answers:
            raise InputError(f"{path}, line {row.line}: a second answer of {label!r}; one is given")
        answers[label] = row.values["answer"]
    return answers


def _opened(option: str, model: str | Path | Run, precision: str = "float32") -> Predictor:
    """What answers by a run that is given for an option."""
    predictor = open_predictor(model, precision=precision)
    recipe, task = RECIPES[option]
    if predictor.task.name != task:
        raise InputError(
            f"--{option} {model} answers with {predictor.task.name}: it must be a run of the recipe {recipe}"
        )
    return predictor


def _writer(model: str | Path | Run, precision: str) -> "ReplyWriter":
    _opened("generate", model, precision)
    run = model if isinstance(model, Run) else Run(model)
    from tfhub_ft.language_models.generation import ReplyWriter
    from tfhub_ft.utils.precision import dtype_policy, resolve_precision

    loaded = run.load_model()
    language_model = loaded.get_layer("token_model").get_layer("language_model")
    language_model.dtype_policy = dtype_policy(resolve_precision(precision))
    return ReplyWriter(loaded, least_cache=LEAST_CACHE)


def _likeliest() -> "Sampling":
    from tfhub_ft.language_models.generation import Sampling

    return Sampling()


def _of_turn(sampling: "Sampling", turn: int) -> "Sampling":
    """How the reply of a turn is drawn: by another seed than those of other turns."""
    (seed,) = np.random.SeedSequence([sampling.seed, turn]).generate_state(1) >> 1
    return replace(sampling, seed=int(seed))
