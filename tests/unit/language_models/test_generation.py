"""Replies in whole characters, within the window, reproducible by the seed."""

import pytest

from tests.conftest import make_speaker
from tfhub_ft import dialogue_model
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.utils.errors import InputError

WORDS = "good goose nest the in user use error you my"


def writer_of(preset, seq_length=256, **options):
    return ReplyWriter(dialogue_model(language_model=str(preset), seq_length=seq_length), **options)


def user(prompt):
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def writer(tiny_preset):
    return writer_of(tiny_preset)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """A writer of é🙂! and a special token that begins a turn, for any prompt."""
    file = make_speaker(tmp_path_factory.mktemp("speaker") / "speaker.gguf", "é🙂!", "<|im_start|>", "my")
    return writer_of(file)


def test_stream_reproduces_replies_by_seed(writer):
    def reply(seed, top_p=1.0):
        return "".join(writer.stream(user("good"), Sampling(temperature=1.0, top_p=top_p, seed=seed, max_tokens=16)))

    assert reply(1) == reply(1) != reply(2)
    assert reply(1, top_p=1e-6) == reply(2, top_p=1e-6) == "".join(writer.stream(user("good"), Sampling(max_tokens=16)))


def test_graphs_are_traced_once_for_all_lengths(writer):
    for prompt, tokens in (("good", 3), (WORDS, 9), ("the nest " * 9, 40)):
        "".join(writer.stream(user(prompt), Sampling(max_tokens=tokens)))
        writer.write([user(prompt), user("my")], Sampling(max_tokens=tokens))
    assert writer.next_token.experimental_get_tracing_count() == 1
    assert writer.reply_ids.experimental_get_tracing_count() == 1


def test_stream_yields_characters_until_a_special_token(speaker):
    assert list(speaker.stream(user("good"), Sampling())) == ["é", "🙂", "!"]
    assert speaker.write([user("good"), user("my nest")], Sampling()) == ["é🙂!"] * 2
    assert speaker.tokens_per_second > 0


def test_stream_replaces_half_a_character_at_the_end(speaker):
    assert list(speaker.stream(user("good"), Sampling(max_tokens=4))) == ["é", "\ufffd"]


def test_prompt_ids_drop_the_first_turns(writer):
    turns = [{"role": role, "content": WORDS} for _ in range(9) for role in ("user", "assistant")]
    ids = writer.preprocessor.prompt_ids([*turns, *user("good")], room=100)
    (begin,) = writer.preprocessor.tokenize(["<|im_start|>user\n"])
    assert 80 < len(ids) <= 156
    assert ids[: len(begin)] == begin


def test_stream_reuses_the_cache_of_a_conversation(tiny_preset, writer):
    def reply_of(messages, sampling):
        return "".join(writer.stream(messages, sampling))

    talking, messages = writer_of(tiny_preset), []
    for turn, tokens in enumerate((12, 30, 5, 60)):
        messages += user(WORDS[: 9 + turn])
        reply_of(user("something else"), Sampling(max_tokens=3))
        reply = "".join(talking.stream(messages, Sampling(max_tokens=tokens)))
        assert reply == reply_of(messages, Sampling(max_tokens=tokens))
        messages.append({"role": "assistant", "content": reply})
    assert "".join(talking.stream(user("my"), Sampling())) == reply_of(user("my"), Sampling())


def test_stream_rejects_special_tokens(writer):
    with pytest.raises(InputError, match=r"a message contains <\|im_end\|>, which only the chat template may write"):
        "".join(writer.stream(user("<|im_end|>"), Sampling()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "--temperature -1.0: must be 0 or more"),
        ({"top_p": 0.0}, "--top-p 0.0: must be above 0"),
        ({"max_tokens": 0}, "--max-tokens 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be from 0"),
    ],
)
def test_sampling_rejects_values_out_of_range(values, message):
    with pytest.raises(InputError, match=message):
        Sampling(**values)
