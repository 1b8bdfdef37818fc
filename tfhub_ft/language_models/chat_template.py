"""How a language model wants a dialogue to be written: its chat template, applied turn by turn."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tfhub_ft.utils.errors import InputError, first_line

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# Stands for a message, to see what a template writes around it.
MARK = "\u2063message\u2063"
Message = dict[str, str]


class Turn(NamedTuple):
    """A message as the template writes it.

    Args:
        role: who says it.
        head: what stands before the message.
        content: the message.
        tail: what stands behind it.
    """

    role: str
    head: str
    content: str
    tail: str


def plain_template(end: str) -> str:
    """A template for models that have none: a line a turn, and the model's own end of a text behind each.

    Args:
        end: the token that ends a text.
    """
    return (
        "{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'] }}"
        + f"{{{{ {end!r} + '\\n' }}}}"
        + "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
    )


def turns_of(template: str, messages: Sequence[Message], system: str | None = None) -> list[Turn]:
    """The turns of a dialogue, as a chat template writes them.

    Args:
        template: in Jinja's language, which it is rendered in without access to anything else.
        messages: {"role", "content"} each.
        system: the system prompt of dialogues that begin without one; None leaves it to the template.

    Returns:
        A turn a message; where the template itself puts a system prompt before, it stands in the first one's head.

    Raises:
        InputError: the template cannot write these messages, or not one behind the other.

    Example:
        turns_of(template, [{"role": "user", "content": "Hello?"}])[0].head  # "<|im_start|>user\\n"
    """
    messages = with_system(messages, system)
    turns, before = [], ""
    for number, message in enumerate(messages):
        role, content = message["role"], message["content"]
        marked = _rendered(template, [*messages[:number], {"role": role, "content": MARK}])
        head, found, tail = marked[len(before) :].partition(MARK)
        if not found or not marked.startswith(before):
            raise InputError("the model's chat template does not write messages one behind the other, as they stand")
        whole = _rendered(template, messages[: number + 1])
        if whole != before + head + content + tail:
            content = content.strip()
        if whole != before + head + content + tail:
            raise InputError(f"the model's chat template does not write a message as it stands: {content!r}")
        turns.append(Turn(role, head, content, tail))
        before = whole
    return turns


def with_system(messages: Sequence[Message], system: str | None) -> Sequence[Message]:
    """The messages behind a system prompt, where there is one and they have none."""
    if system is None or messages[0]["role"] == SYSTEM:
        return messages
    return [{"role": SYSTEM, "content": system}, *messages]


def begin_of_reply(template: str) -> str:
    """What stands before an assistant's message."""
    messages = [{"role": USER, "content": MARK}]
    return _rendered(template, messages, True)[len(_rendered(template, messages)) :]


def _rendered(template: str, messages: Sequence[Message], asks: bool = False) -> str:
    import jinja2

    try:
        return _compiled(template).render(messages=messages, add_generation_prompt=asks)
    except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"the model's chat template refuses a dialogue: {first_line(error)}") from None


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"raise_exception": refuse, "bos_token": "", "eos_token": ""}
    return environment.from_string(template)
