import json

import pytest

from tfhub_ft.data.rows import read_all
from tfhub_ft.language_models.task import Dialogue, check_messages, messages_of
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError

SYSTEM, ASK, SAY = ({"role": role, "content": role} for role in ("system", "user", "assistant"))


@pytest.mark.parametrize("messages", [[ASK, SAY], [SYSTEM, ASK, SAY], [ASK, SAY, ASK, SAY]])
def test_check_messages_accepts_alternating_turns(messages):
    assert check_messages(messages) == messages == check_messages(json.dumps(messages))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "is a text, not a list of messages"),
        ([], "is not a list of messages"),
        (["hello"], "has an invalid message 1"),
        ([{"role": "bot", "content": "x"}], "role 'bot' in message 1; expected system, user or assistant"),
        ([ASK], "role user in the last message; expected assistant"),
        ([SYSTEM], "role system in the last message"),
        ([SAY, ASK], "role assistant in message 1; expected user"),
        ([ASK, ASK, SAY], "role user in message 2; expected assistant"),
        ([ASK, SYSTEM, SAY], "role system in message 2; expected assistant"),
        ([ASK, {"role": "assistant", "content": " "}], "message 2: it is empty"),
        ([ASK, {"role": "assistant"}], "message 2: it is null, not text"),
    ],
)
def test_check_messages_rejects_other_values(messages, message):
    with pytest.raises(ValueError, match=message):
        check_messages(messages)


def rows_of(path, lines, **settings):
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return read_all(path, Dialogue().columns(load_recipe("dialogue").settings.replaced(settings)))


def test_files_contain_messages_or_pairs(tmp_path):
    messages = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi!"}]
    (dialogue,) = rows_of(tmp_path / "messages.jsonl", [{"messages": messages, "id": 1}])
    (pair,) = rows_of(tmp_path / "pairs.jsonl", [{"question": "Hello?", "answer": "Hi!"}])
    assert messages_of(dialogue) == messages == messages_of(pair)
    (named,) = rows_of(
        tmp_path / "named.jsonl", [{"messages": [], "a": "Hello?", "b": "Hi!"}], prompt_column="a", reply_column="b"
    )
    assert messages_of(named) == messages


def test_errors_name_the_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: column 'messages' has the role user in the last message"):
        rows_of(tmp_path / "a.jsonl", [{"messages": [ASK, SAY]}, {"messages": [ASK]}])
    missing = "column 'messages' .* not found.*or, instead: column 'reply' .* not found"
    with pytest.raises(InputError, match=missing):
        rows_of(tmp_path / "b.jsonl", [{"prompt": "Hello?"}])
    with pytest.raises(InputError, match="column 'turns' not found"):
        rows_of(tmp_path / "c.jsonl", [{"messages": [ASK, SAY]}], messages_column="turns")
