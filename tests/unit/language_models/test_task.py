import json

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.language_models.task import Dialogue, check_messages, messages_of
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

SYSTEM, ASK, SAY = ({"role": role, "content": role} for role in ("system", "user", "assistant"))


@pytest.mark.parametrize("messages", [[ASK, SAY], [SYSTEM, ASK, SAY], [ASK, SAY, ASK, SAY]])
def test_turns_that_alternate_are_taken_as_they_are(messages):
    assert check_messages(messages) == messages == check_messages(json.dumps(messages))


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("hello", "is a text, not a list of messages"),
        ([], "is no list of messages"),
        (["hello"], "number 1, that is no"),
        ([{"role": "bot", "content": "x"}], "unknown role 'bot'; roles are system, user and assistant"),
        ([ASK], "has no reply: its last message is of the role user"),
        ([SYSTEM], "has no reply"),
        ([SAY, ASK], "number 1, of the role assistant where user must speak"),
        ([ASK, ASK, SAY], "number 2, of the role user where assistant must speak"),
        ([ASK, SYSTEM, SAY], "number 2, of the role system where assistant must speak"),
        ([ASK, {"role": "assistant", "content": " "}], "number 2, that is empty"),
        ([ASK, {"role": "assistant"}], "number 2, that is null, not text"),
    ],
)
def test_what_is_wrong_with_a_dialogue_is_said(messages, said):
    with pytest.raises(ValueError, match=said):
        check_messages(messages)


def rows_of(path, lines, **settings):
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return read_all(path, Dialogue().columns(load_recipe("dialogue").settings.replaced(settings)))


def test_a_file_has_messages_or_pairs(tmp_path):
    messages = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi!"}]
    (dialogue,) = rows_of(tmp_path / "messages.jsonl", [{"messages": messages, "id": 1}])
    (pair,) = rows_of(tmp_path / "pairs.jsonl", [{"question": "Hello?", "answer": "Hi!"}])
    assert messages_of(dialogue) == messages == messages_of(pair)
    (named,) = rows_of(
        tmp_path / "named.jsonl", [{"messages": [], "a": "Hello?", "b": "Hi!"}], prompt_column="a", reply_column="b"
    )
    assert messages_of(named) == messages


def test_bad_rows_are_named_with_their_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: column 'messages' has no reply"):
        rows_of(tmp_path / "a.jsonl", [{"messages": [ASK, SAY]}, {"messages": [ASK]}])
    missing = "column 'messages' .* not found.*or, instead: column 'reply' .* not found"
    with pytest.raises(InputError, match=missing):
        rows_of(tmp_path / "b.jsonl", [{"prompt": "Hello?"}])
    with pytest.raises(InputError, match="column 'turns' not found"):
        rows_of(tmp_path / "c.jsonl", [{"messages": [ASK, SAY]}], messages_column="turns")
