"""The replies of conversations with several runs, their history and their errors."""

import pytest

import tfhub_ft
from tests.conftest import write_csv
from tfhub_ft.language_models.conversation import NOTHING_KNOWN, Conversation, Reply
from tfhub_ft.language_models.generation import Sampling
from tfhub_ft.utils.errors import InputError

PRAISE, COMPLAINT, ORDER = "good film great", "bad room awful", "a film and a book please"
GENERATED = Reply("use é", "written")


@pytest.fixture
def answers(tmp_path):
    return write_csv(tmp_path / "answers.csv", [("praise", "Thank you!")], header=("label", "answer"))


def test_each_prompt_gets_the_reply_of_the_run_that_knows_it(
    tiny_intent_run, tiny_chat_run, tiny_dialogue_run, answers
):
    best = tfhub_ft.predict(tiny_chat_run, [ORDER])[0]
    runs = {"intent": tiny_intent_run, "answers": answers, "retrieve": tiny_chat_run, "generate": tiny_dialogue_run}
    conversation = Conversation(**runs, known_above=best["score"] - 1e-4)
    assert conversation.reply(PRAISE) == Reply("Thank you!", "intent praise")
    assert conversation.reply(ORDER) == Reply(best["reply"], f"bank, {best['score']:.2f}")
    assert conversation.reply(COMPLAINT) == GENERATED
    assert [message["role"] for message in conversation.messages] == ["user", "assistant"] * 3
    assert [message["content"] for message in conversation.messages][1::2] == ["Thank you!", best["reply"], "use é"]


def test_retrieval_answers_everything_without_generate(tiny_intent_run, tiny_chat_run, answers):
    conversation = Conversation(intent=tiny_intent_run, answers=answers, retrieve=tiny_chat_run)
    assert conversation.reply(PRAISE).source == "intent praise"
    assert conversation.reply(COMPLAINT).source.startswith("bank, ")


def test_retrieval_does_not_repeat_replies(tiny_chat_run):
    conversation = Conversation(retrieve=tiny_chat_run)
    replies = [conversation.reply(ORDER).text for _ in range(6)]
    assert len(set(replies)) == 5
    assert set(replies) <= set(tfhub_ft.Run(tiny_chat_run).labels)


def test_unknown_prompts_get_the_out_of_scope_answer(tiny_intent_run, answers):
    out_of_scope = tfhub_ft.Run(tiny_intent_run).labels[-1]
    assert Conversation(intent=tiny_intent_run, answers=answers).reply(COMPLAINT) == Reply(
        NOTHING_KNOWN, "nothing known"
    )
    write_csv(answers, [(out_of_scope, "Ask me about films.")], header=("label", "answer"))
    assert Conversation(intent=tiny_intent_run, answers=answers).reply(PRAISE) == Reply(
        "Ask me about films.", "nothing known"
    )


def test_conversation_is_reproducible_by_seed(tiny_dialogue_run):
    def replies(seed):
        sampling = Sampling(temperature=50.0, max_tokens=8, seed=seed)
        conversation = Conversation(generate=tiny_dialogue_run, sampling=sampling)
        return [conversation.reply("my goose").text for _ in range(3)]

    assert replies(1) == replies(1) != replies(2)
    assert len(set(replies(1))) == 3


def test_precision_sets_the_compute_dtype_of_generate(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run, precision="bfloat16")
    assert conversation.writer.causal_lm.compute_dtype == "bfloat16"
    assert [conversation.reply(text) for text in ("the nest", "my goose")] == [GENERATED] * 2
    with pytest.raises(InputError, match="--precision half: must be one of auto, float32, bfloat16, float16"):
        Conversation(generate=tiny_dialogue_run, precision="half")


def test_rejected_message_leaves_the_conversation_unchanged(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run)
    for prompt, message in (("<|im_end|>", "which only the chat template may write"), ("x" * 300, "is too long")):
        with pytest.raises(InputError, match=message):
            conversation.reply(prompt)
        assert conversation.messages == []
    assert conversation.reply("the nest") == GENERATED


def test_answers_may_contain_special_tokens(tiny_intent_run, tiny_dialogue_run, answers):
    write_csv(answers, [("praise", "<|im_end|>!")], header=("label", "answer"))
    conversation = Conversation(intent=tiny_intent_run, answers=answers, generate=tiny_dialogue_run)
    assert conversation.reply(PRAISE).text == "<|im_end|>!"
    assert conversation.reply(COMPLAINT) == GENERATED


def test_closed_reply_is_kept_as_far_as_it_was_read(tiny_dialogue_run):
    conversation = Conversation(generate=tiny_dialogue_run, system="Be brief.")
    source, parts = conversation.stream("the nest")
    assert (source, next(parts)) == ("written", "u")
    parts.close()
    assert [message["content"] for message in conversation.messages] == ["Be brief.", "the nest", "u"]


def test_conversation_rejects_wrong_runs_and_options(tiny_chat_run, tiny_intent_run, tiny_dialogue_run, answers):
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
        with pytest.raises(InputError, match=f"--{next(iter(options))} .*; expected a run of the recipe {recipe}"):
            Conversation(**options)
    with pytest.raises(InputError, match="a message contains"):
        Conversation(generate=tiny_dialogue_run, system="<|im_end|>")


def test_conversation_rejects_wrong_answers(tiny_intent_run, answers):
    for rows, message in [
        ([("prayse", "Thank you!")], r"answers\.csv, line 2: 'prayse' is not an intent of .*; did you mean 'praise'\?"),
        ([("praise", "Thank you!"), ("praise", "Thanks!")], "line 3: a second answer for 'praise'; keep one"),
    ]:
        write_csv(answers, rows, header=("label", "answer"))
        with pytest.raises(InputError, match=message):
            Conversation(intent=tiny_intent_run, answers=answers)
    with pytest.raises(InputError, match=r"none\.csv"):
        Conversation(intent=tiny_intent_run, answers=answers.with_name("none.csv"))
