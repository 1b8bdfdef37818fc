"""`tfhub-ft chat` with prompts on standard input."""

import io

import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import write_csv
from tfhub_ft.cli import chat
from tfhub_ft.cli.chat import command
from tfhub_ft.utils.errors import InputError


def talk(arguments, lines):
    done = CliRunner().invoke(
        command, [str(argument) for argument in arguments], input="".join(f"{x}\n" for x in lines)
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout.splitlines()


@pytest.mark.sample
def test_chat_with_a_retrieval_run_replies_from_its_bank(tiny_chat_run):
    replies = talk([tiny_chat_run], ["a film and a book please"] * 4)
    assert len(set(replies)) == 4
    assert set(replies) <= set(tfhub_ft.Run(tiny_chat_run).labels)


def test_chat_ends_at_an_empty_line(tiny_chat_run):
    assert len(talk([tiny_chat_run], ["a film please", "", "a book please"])) == 1


def test_chat_reads_the_history(tiny_chat_run):
    alone = talk([tiny_chat_run, "--history", 0], ["a film and a book please", "a hotel and a room please"])
    along = talk([tiny_chat_run, "--history", 1], ["a film and a book please", "a hotel and a room please"])
    both = tfhub_ft.predict(tiny_chat_run, ["a film and a book please a hotel and a room please"])[0]
    assert along[0] == alone[0]
    assert along[1] in [reply["reply"] for reply in both["replies"]]


@pytest.mark.sample
def test_chat_with_a_dialogue_run_writes_replies(tiny_dialogue_run):
    options = ["--temperature", 0.1, "--top-p", 0.9, "--seed", 1, "--max-tokens", 9, "--system", "Be brief."]
    assert talk([tiny_dialogue_run, *options], ["the nest", "my goose"]) == ["use é"] * 2


def test_chat_with_several_runs_prints_the_source(tiny_intent_run, tiny_chat_run, tiny_dialogue_run, tmp_path):
    answers = write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))
    intents = ["--intent", tiny_intent_run, "--answers", answers, "--say-source"]
    prompts = ["good film great", "a film and a book please"]
    of_intent, of_bank = talk([*intents, "--retrieve", tiny_chat_run], prompts)
    best = tfhub_ft.predict(tiny_chat_run, [prompts[1]])[0]
    assert of_intent == "[intent praise] Thank you!"
    assert of_bank == f"[bank, {best['score']:.2f}] {best['reply']}"
    runs = ["--retrieve", tiny_chat_run, "--generate", tiny_dialogue_run, "--known-above", 1]
    assert talk([*intents, *runs], prompts) == [of_intent, "[written] use é"]


def test_chat_logs_tokens_per_second(tiny_dialogue_run):
    done = CliRunner().invoke(command, [str(tiny_dialogue_run)], input="the nest\n")
    assert done.stdout == "use é\n"
    assert done.stderr.splitlines()[-1].endswith("tokens per second")


def test_chat_refuses_wrong_runs_and_options(tiny_chat_run, tiny_intent_run, tiny_dialogue_run):
    with pytest.raises(InputError, match="needs a run of the recipe retrieval or dialogue"):
        talk([tiny_intent_run], ["hello"])
    with pytest.raises(InputError, match="a conversation needs a run"):
        talk([], ["hello"])
    with pytest.raises(InputError, match="pass either one run or --intent"):
        talk([tiny_chat_run, "--generate", tiny_dialogue_run], ["hello"])
    with pytest.raises(InputError, match="a message is too long"):
        talk([tiny_dialogue_run], ["x" * 300])


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_chat_refuses_input_that_is_not_utf8(monkeypatch, errors):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hi \xff\n"), "utf-8", errors))
    with pytest.raises(InputError, match="standard input: a line is not UTF-8"):
        chat._read()
