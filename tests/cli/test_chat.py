"""`tfhub-ft chat`: a conversation on standard input."""

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import BAD, GOOD, THINGS, TINY_SETTINGS, write_csv
from tfhub_ft.cli import chat
from tfhub_ft.cli.chat import command
from tfhub_ft.errors import InputError

SETTINGS = {**TINY_SETTINGS, "epochs": 2}


@pytest.fixture(scope="module")
def chat_run(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    rows = [
        {"prompt": f"a {one} and a {other} please", "reply": f"the {other} with the {one}"}
        for one in THINGS
        for other in THINGS
        if one != other
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {name: value for name, value in SETTINGS.items() if name != "dropout"}
    tfhub_ft.train("chat", data=folder / "rows.jsonl", encoder=tiny_pair, output_dir=folder / "run", **settings)
    return folder / "run"


@pytest.fixture(scope="module")
def intent_run(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("intent")
    random = np.random.default_rng(0)
    rows = {}
    while len(rows) < 160:
        words = random.choice(GOOD if len(rows) % 2 else BAD, 2)
        rows[f"{words[0]} {random.choice(THINGS)} {words[1]} {len(rows)}"] = "praise" if len(rows) % 2 else "complaint"
    data = write_csv(folder / "rows.csv", list(rows.items()))
    settings = {**SETTINGS, "epochs": 8, "in_scope_accuracy": 1.0}
    tfhub_ft.train("intent", data=data, encoder=tiny_pair, output_dir=folder / "run", **settings)
    return folder / "run"


def talk(arguments, lines):
    done = CliRunner().invoke(
        command, [str(argument) for argument in arguments], input="".join(f"{x}\n" for x in lines)
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout.splitlines()


def test_each_prompt_gets_a_reply_of_the_bank_and_none_twice(chat_run):
    bank = tfhub_ft.Run(chat_run).labels
    replies = talk([chat_run], ["a film and a book please"] * 4)
    assert len(set(replies)) == 4
    assert set(replies) <= set(bank)


def test_an_empty_line_ends_it(chat_run):
    assert len(talk([chat_run], ["a film please", "", "a book please"])) == 1


def test_history_is_read_along(chat_run):
    alone = talk([chat_run, "--history", 0], ["a film and a book please", "a hotel and a room please"])
    along = talk([chat_run, "--history", 1], ["a film and a book please", "a hotel and a room please"])
    both = tfhub_ft.predict(chat_run, ["a film and a book please a hotel and a room please"])[0]
    assert along[0] == alone[0]
    assert along[1] in [reply["reply"] for reply in both["replies"]]


def test_a_request_in_scope_gets_the_answer_of_its_intent(chat_run, intent_run, tmp_path):
    answers = write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))
    text, label = "good film great", tfhub_ft.predict(intent_run, ["good film great"])[0]["label"]
    assert label == "praise"
    replies = talk([chat_run, "--intents", intent_run, "--answers", answers], [text, "bad room awful"])
    assert replies[0] == "Thank you!"
    assert replies[1] in tfhub_ft.Run(chat_run).labels


def test_wrong_runs_and_options_are_told(chat_run, intent_run, tmp_path):
    answers = write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))
    with pytest.raises(InputError, match="needs a run of the recipe chat"):
        talk([intent_run], ["hello"])
    with pytest.raises(InputError, match="must be a run of the recipe intent"):
        talk([chat_run, "--intents", chat_run, "--answers", answers], ["hello"])
    for rows, message in [
        ([("prayse", "Thank you!")], r"answers\.csv, line 2: 'prayse' is no intent of .*; did you mean 'praise'\?"),
        ([("praise", "Thank you!"), ("praise", "Thanks!")], "line 3: a second answer of 'praise'; one is given"),
    ]:
        write_csv(answers, rows, header=("label", "answer"))
        with pytest.raises(InputError, match=message):
            talk([chat_run, "--intents", intent_run, "--answers", answers], ["hello"])
    with pytest.raises(InputError, match="belong together"):
        talk([chat_run, "--intents", intent_run], ["hello"])


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_line_that_is_not_utf8_is_told(monkeypatch, errors):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hi \xff\n"), "utf-8", errors))
    with pytest.raises(InputError, match="standard input: a line is not UTF-8 text"):
        chat._read()
