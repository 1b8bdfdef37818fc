from types import SimpleNamespace

import pytest

from tests.conftest import write_csv
from tfhub_ft.language_models.conversation import Conversation, read_answers
from tfhub_ft.utils.errors import InputError

INTENTS = SimpleNamespace(labels=["praise", "other"], name="runs/intents")


def test_read_answers_returns_answers_by_intent(tmp_path):
    path = write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))
    assert read_answers(path, INTENTS) == {"praise": "Thank you!"}


def test_read_answers_rejects_unknown_intents(tmp_path):
    path = write_csv(tmp_path / "answers.csv", [("prayse", "Thank you!")], header=("label", "answer"))
    with pytest.raises(InputError, match="line 2: 'prayse' is not an intent of runs/intents; did you mean 'praise'"):
        read_answers(path, INTENTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "a conversation needs a run"), ({"intent": "runs/intents"}, "--intent and --answers belong together")],
)
def test_conversation_checks_options_first(options, message):
    with pytest.raises(InputError, match=message):
        Conversation(**options)
