"""Render dialogues turn by turn with a model's chat template."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import jinja2

# Its file in the folder of a preset.
CHAT_TEMPLATE = "chat_template.jinja"
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# Replaces a message, to find what a template writes before and after it.
PLACEHOLDER = "\u2063message\u2063"
Message = dict[str, str]


class Turn(NamedTuple):
    """A message, and what the template writes before and after it."""

    role: str
    head: str
    content: str
    tail: str


def plain_template(end: str) -> str:
    """Return a template for models without one: a line for each turn, which ends with the model's end token."""
    return (
        "{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'] }}"
        + f"{{{{ {end!r} + '\\n' }}}}"
        + "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
    )


def render_turns(template: str, messages: Sequence[Message], system: str | None = None) -> list[Turn]:
    """Return a turn for each message, as a Jinja template renders it in a sandbox.

    Args:
        template: The chat template. The head of the first turn contains what it writes before all messages.
        messages: {"role", "content"} each.
        system: System prompt of dialogues without one; None leaves it to the template.
    """
    if system is not None and messages[0]["role"] != SYSTEM:
        messages = [{"role": SYSTEM, "content": system}, *messages]
    turns, before = [], ""
    for number, message in enumerate(messages):
        role, content = message["role"], message["content"]
        text = _render(template, [*messages[:number], {"role": role, "content": PLACEHOLDER}])
        head, placeholder, tail = text[len(before) :].partition(PLACEHOLDER)
        if not placeholder or not text.startswith(before):
            raise InputError("the model's chat template does not write messages one after the other, unchanged")
        rendered = _render(template, messages[: number + 1])
        if rendered != before + head + content + tail:
            content = content.strip()
        if rendered != before + head + content + tail:
            raise InputError(f"the model's chat template changes a message: {content!r}")
        turns.append(Turn(role, head, content, tail))
        before = rendered
    return turns


def reply_start(template: str) -> str:
    """Return what a template writes before an assistant's message."""
    messages = [{"role": USER, "content": PLACEHOLDER}]
    return _render(template, messages, True)[len(_render(template, messages)) :]


def _render(template: str, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    import jinja2

    try:
        return _compile(template).render(messages=messages, add_generation_prompt=add_generation_prompt)
    except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"the model's chat template rejects a dialogue: {first_line(error)}") from None


@lru_cache(maxsize=8)
def _compile(template: str) -> "jinja2.Template":
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"raise_exception": raise_exception, "bos_token": "", "eos_token": ""}
    return environment.from_string(template)
