"""Who answers in a conversation of several runs, what it remembers, and what is refused."""

import pytest

import tfhub_ft
from tests.conftest import write_csv
from tfhub_ft.language_models.conversation import NOTHING_KNOWN, Conversation, Reply
from tfhub_ft.language_models.generation import Sampling
from tfhub_ft.utils.errors import InputError

PRAISE, COMPLAINT, ORDER = "good film great", "bad room awful", "a film and a book please"
WRITTEN = Reply("use é", "written")


@pytest.fixture
def answers(tmp_path):
    return write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))


def test_requests_get_their_intents_answer_questions_the_banks_and_all_else_is_written(
    tiny_intent_run, tiny_chat_run, tiny_dialogue_run, answers
):
    best = tfhub_ft.predict(tiny_chat_run, [ORDER])[0]
    runs = {"intent": tiny_intent_run, "answers": answers, "retrieve": tiny_chat_run, "generate": tiny_dialogue_run}
    conversation = Conversation(**runs, known_above=best["score"] - 1e-4)
    assert conversation.reply(PRAISE) == Reply("Thank you!", "intent praise")
    assert conversation.reply(ORDER) == Reply(best["reply"], f"bank, {best['score']:.2f}")
    assert conversation.reply(COMPLAINT) == WRITTEN
    assert [message["role"] for message in conversation.messages] == ["user", "assistant"] * 3
    assert [message["content"] for message in conversation.messages][1::2] == ["Thank you!", best["reply"], "use é"]


def test_without_one_that_writes_the_bank_answers_everything(tiny_intent_run, tiny_chat_run, answers):
    conversation = Conversation(intent=tiny_intent_run, answers=answers, retrieve=tiny_chat_run)
    assert conversation.reply(PRAISE).source == "intent praise"
    assert conversation.reply(COMPLAINT).source.startswith("bank, ")


def test_a_bank_gives_no_reply_twice_while_there_is_another(tiny_chat_run):
    conversation = Conversation(retrieve=tiny_chat_run)
    replies = [conversation.reply(ORDER).text for _ in range(6)]
    assert len(set(replies)) == 5
    assert set(replies) <= set(tfhub_ft.Run(tiny_chat_run).labels)


def test_where_nobody_knows_an_answer_the_one_for_that_is_given(tiny_intent_run, answers):
    outside = tfhub_ft.Run(tiny_intent_run).labels[-1]
    assert Conversation(intent=tiny_intent_run, answers=answers).reply(COMPLAINT) == Reply(
        NOTHING_KNOWN, "nothing known"
    )
    write_csv(answers, [(outside, "Ask me about films.")], header=("label", "answer"))
    assert Conversation(intent=tiny_intent_run, answers=answers).reply(PRAISE) == Reply(
        "Ask me about films.", "nothing known"
    )


def test_the_same_seed_draws_the_same_conversation(tiny_dialogue_run):
    def talked(seed):
        sampling = Sampling(temperature=50.0, max_tokens=8, seed=seed)
        conversation = Conversation(generate=tiny_dialogue_run, sampling=sampling)
        return [conversation.reply("my goose").text for _ in range(3)]

    assert talked(1) == talked(1) != talked(2)
    assert len(set(talked(1))) == 3


def test_what_writes_computes_in_the_precision_that_is_asked_for(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run, precision="bfloat16")
    assert conversation.writer.causal_lm.compute_dtype == "bfloat16"
    assert [conversation.reply(text) for text in ("the nest", "my goose")] == [WRITTEN] * 2
    with pytest.raises(InputError, match="--precision half: must be one of auto, float32, bfloat16, float16"):
        Conversation(generate=tiny_dialogue_run, precision="half")


def test_a_message_that_cannot_be_read_leaves_the_conversation_as_it_was(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run)
    for message, said in (("<|im_end|>", "which only the chat template may write"), ("x" * 300, "is too long")):
        with pytest.raises(InputError, match=said):
            conversation.reply(message)
        assert conversation.messages == []
    assert conversation.reply("the nest") == WRITTEN


def test_what_others_have_answered_may_hold_special_tokens(tiny_intent_run, tiny_dialogue_run, answers):
    write_csv(answers, [("praise", "<|im_end|>!")], header=("label", "answer"))
    conversation = Conversation(intent=tiny_intent_run, answers=answers, generate=tiny_dialogue_run)
    assert conversation.reply(PRAISE).text == "<|im_end|>!"
    assert conversation.reply(COMPLAINT) == WRITTEN


def test_a_reply_that_is_left_is_remembered_as_far_as_it_was_said(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run, system="Be brief.")
    source, parts = conversation.stream("the nest")
    assert (source, next(parts)) == ("written", "u")
    parts.close()
    assert [message["content"] for message in conversation.messages] == ["Be brief.", "the nest", "u"]


def test_wrong_runs_and_options_are_told(tiny_chat_run, tiny_intent_run, tiny_dialogue_run, answers):
    with pytest.raises(InputError, match="a conversation needs a run"):
        Conversation()
    for options in ({"intent": tiny_intent_run}, {"retrieve": tiny_chat_run, "answers": answers}):
        with pytest.raises(InputError, match="belong together"):
            Conversation(**options)
    for options, recipe in (
        ({"intent": tiny_chat_run, "answers": answers}, "intent"),
        ({"retrieve": tiny_dialogue_run}, "retrieval"),
        ({"generate": tiny_intent_run}, "dialogue"),
    ):
        with pytest.raises(InputError, match=f"--{next(iter(options))} .*: it must be a run of the recipe {recipe}"):
            Conversation(**options)
    with pytest.raises(InputError, match="a message holds"):
        Conversation(generate=tiny_dialogue_run, system="<|im_end|>")


def test_answers_that_are_not_as_they_must_be_are_told(tiny_intent_run, answers):
    for rows, message in [
        ([("prayse", "Thank you!")], r"answers\.csv, line 2: 'prayse' is no intent of .*; did you mean 'praise'\?"),
        ([("praise", "Thank you!"), ("praise", "Thanks!")], "line 3: a second answer of 'praise'; one is given"),
    ]:
        write_csv(answers, rows, header=("label", "answer"))
        with pytest.raises(InputError, match=message):
            Conversation(intent=tiny_intent_run, answers=answers)
    with pytest.raises(InputError, match=r"none\.csv"):
        Conversation(intent=tiny_intent_run, answers=answers.with_name("none.csv"))
