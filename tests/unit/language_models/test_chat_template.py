import pytest

from tests.conftest import CHATML
from tfhub_ft.language_models.chat_template import plain_template, render_turns, reply_start
from tfhub_ft.utils.errors import InputError

ASK, SAY = {"role": "user", "content": "t"}, {"role": "assistant", "content": "<|end"}


def test_render_turns_separates_special_tokens():
    ask, say = render_turns(CHATML, [ASK, SAY])
    assert ask == ("user", "<|im_start|>user\n", "t", "<|im_end|>\n")
    assert say == ("assistant", "<|im_start|>assistant\n", "<|end", "<|im_end|>\n")
    assert reply_start(CHATML) == say.head


def test_plain_template_names_the_roles():
    ask, say = render_turns(plain_template("<|endoftext|>"), [ASK, SAY])
    assert (ask.head, ask.tail) == ("User: ", "<|endoftext|>\n")
    assert say.head == reply_start(plain_template("<|endoftext|>")) == "Assistant: "


def test_render_turns_adds_a_missing_system_prompt():
    assert [turn.role for turn in render_turns(CHATML, [ASK], "Be brief.")] == ["system", "user"]
    system = {"role": "system", "content": "Be kind."}
    assert [turn.content for turn in render_turns(CHATML, [system, ASK], "Be brief.")] == ["Be kind.", "t"]


def test_first_head_contains_the_system_prompt_of_the_template():
    template = "{% if messages[0]['role'] != 'system' %}[S]{% endif %}" + CHATML
    assert render_turns(template, [ASK, SAY])[0].head == "[S]<|im_start|>user\n"


def test_render_turns_allows_stripped_messages():
    template = "{% for m in messages %}<{{ m['content'] | trim }}>{% endfor %}"
    assert render_turns(template, [{"role": "user", "content": " hi \n"}])[0].content == "hi"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages | length }}", "one after the other"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "one after the other"),
        ("{{ raise_exception('roles must alternate') }}", "rejects a dialogue: roles must alternate"),
        ("{% for", "rejects a dialogue"),
        ("{{ messages.__class__.__mro__ }}", "rejects a dialogue|one after the other"),
    ],
)
def test_render_turns_rejects_other_templates(template, message):
    with pytest.raises(InputError, match=message):
        render_turns(template, [ASK, SAY])
