import pytest

from tests.conftest import CHATML
from tfhub_ft.language_models.chat_template import begin_of_reply, plain_template, turns_of
from tfhub_ft.utils.errors import InputError

ASK, SAY = {"role": "user", "content": "t"}, {"role": "assistant", "content": "<|end"}


def test_the_turns_of_a_template_with_special_tokens():
    ask, say = turns_of(CHATML, [ASK, SAY])
    assert ask == ("user", "<|im_start|>user\n", "t", "<|im_end|>\n")
    assert say == ("assistant", "<|im_start|>assistant\n", "<|end", "<|im_end|>\n")
    assert begin_of_reply(CHATML) == say.head


def test_models_without_a_template_get_a_plain_one():
    ask, say = turns_of(plain_template("<|endoftext|>"), [ASK, SAY])
    assert (ask.head, ask.tail) == ("User: ", "<|endoftext|>\n")
    assert say.head == begin_of_reply(plain_template("<|endoftext|>")) == "Assistant: "


def test_a_system_prompt_goes_before_dialogues_that_have_none():
    assert [turn.role for turn in turns_of(CHATML, [ASK], "Be brief.")] == ["system", "user"]
    own = {"role": "system", "content": "Be kind."}
    assert [turn.content for turn in turns_of(CHATML, [own, ASK], "Be brief.")] == ["Be kind.", "t"]


def test_a_prompt_that_the_template_puts_before_itself_is_in_the_first_head():
    template = "{% if messages[0]['role'] != 'system' %}[S]{% endif %}" + CHATML
    assert turns_of(template, [ASK, SAY])[0].head == "[S]<|im_start|>user\n"


def test_white_space_may_be_taken_off_a_message():
    template = "{% for m in messages %}<{{ m['content'] | trim }}>{% endfor %}"
    assert turns_of(template, [{"role": "user", "content": " hi \n"}])[0].content == "hi"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages | length }}", "one behind the other"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "one behind the other"),
        ("{{ raise_exception('roles must alternate') }}", "refuses a dialogue: roles must alternate"),
        ("{% for", "refuses a dialogue"),
        ("{{ messages.__class__.__mro__ }}", "refuses a dialogue|one behind the other"),
    ],
)
def test_templates_that_dialogues_cannot_be_learnt_by(template, said):
    with pytest.raises(InputError, match=said):
        turns_of(template, [ASK, SAY])
