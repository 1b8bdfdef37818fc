"""Replies, written token by token: the same as without a cache, in whole characters, within the window."""

import pytest

from tests.conftest import make_speaker
from tfhub_ft import dialogue_model
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.utils.errors import InputError

WORDS = "good goose nest the in user use error you my"


def writer_of(preset, seq_length=256, **options):
    return ReplyWriter(dialogue_model(language_model=str(preset), seq_length=seq_length), **options)


def asked(prompt):
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def writer(tiny_preset):
    return writer_of(tiny_preset)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """What writes é🙂! and a special token that begins a turn, whatever it is asked."""
    file = make_speaker(tmp_path_factory.mktemp("speaker") / "speaker.gguf", "é🙂!", "<|im_start|>", "my")
    return writer_of(file)


def test_replies_follow_from_the_seed(writer):
    def said(seed, top_p=1.0):
        return "".join(writer.stream(asked("good"), Sampling(temperature=1.0, top_p=top_p, seed=seed, max_tokens=16)))

    assert said(1) == said(1) != said(2)
    assert said(1, top_p=1e-6) == said(2, top_p=1e-6) == "".join(writer.stream(asked("good"), Sampling(max_tokens=16)))


def test_replies_of_other_lengths_are_written_by_the_same_graph(writer):
    for prompt, tokens in (("good", 3), (WORDS, 9), ("the nest " * 9, 40)):
        "".join(writer.stream(asked(prompt), Sampling(max_tokens=tokens)))
        writer.write([asked(prompt), asked("my")], Sampling(max_tokens=tokens))
    assert writer.next_token.experimental_get_tracing_count() == 1
    assert writer.reply_ids.experimental_get_tracing_count() == 1


def test_a_character_is_given_whole_and_a_special_token_ends_a_reply(speaker):
    assert list(speaker.stream(asked("good"), Sampling())) == ["é", "🙂", "!"]
    assert speaker.write([asked("good"), asked("my nest")], Sampling()) == ["é🙂!"] * 2
    assert speaker.tokens_per_second > 0


def test_half_a_character_at_the_end_of_a_reply_is_an_unknown_one(speaker):
    assert list(speaker.stream(asked("good"), Sampling(max_tokens=4))) == ["é", "\ufffd"]


def test_the_first_turns_of_a_long_dialogue_are_left_out(writer):
    turns = [{"role": role, "content": WORDS} for _ in range(9) for role in ("user", "assistant")]
    kept = writer.preprocessor.prompt_ids([*turns, *asked("good")], room=100)
    (begin,) = writer.preprocessor.ids_of(["<|im_start|>user\n"])
    assert 80 < len(kept) <= 156
    assert kept[: len(begin)] == begin


def test_a_conversation_goes_on_from_what_was_read(tiny_preset, writer):
    def said(messages, sampling):
        return "".join(writer.stream(messages, sampling))

    talking, messages = writer_of(tiny_preset), []
    for turn, tokens in enumerate((12, 30, 5, 60)):
        messages += asked(WORDS[: 9 + turn])
        said(asked("something else"), Sampling(max_tokens=3))
        reply = "".join(talking.stream(messages, Sampling(max_tokens=tokens)))
        assert reply == said(messages, Sampling(max_tokens=tokens))
        messages.append({"role": "assistant", "content": reply})
    assert "".join(talking.stream(asked("my"), Sampling())) == said(asked("my"), Sampling())


def test_a_special_token_in_a_message_is_refused(writer):
    with pytest.raises(InputError, match=r"a message holds <\|im_end\|>, which only the chat template may write"):
        "".join(writer.stream(asked("<|im_end|>"), Sampling()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "--temperature -1.0: must be 0 or more"),
        ({"top_p": 0.0}, "--top-p 0.0: must be above 0"),
        ({"max_tokens": 0}, "--max-tokens 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be from 0"),
    ],
)
def test_values_out_of_their_range_are_told(values, message):
    with pytest.raises(InputError, match=message):
        Sampling(**values)


def test_more_tokens_than_positions_are_refused(tiny_gpt2_preset):
    with pytest.raises(InputError, match="--seq-length 512: .* reads at most 256 tokens"):
        writer_of(tiny_gpt2_preset, 512)
