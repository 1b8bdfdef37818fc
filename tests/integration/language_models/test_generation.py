import numpy as np
import pytest

from tfhub_ft import dialogue_model
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.utils.errors import InputError, RowError

WORDS = "good goose nest the in user use error you my"


def writer_of(preset, seq_length=256, **options):
    return ReplyWriter(dialogue_model(name="dialogue", language_model=str(preset), seq_length=seq_length), **options)


def user(prompt):
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def writer(tiny_preset):
    return writer_of(tiny_preset)


@pytest.mark.parametrize("preset", ["tiny_preset", "tiny_gpt2_preset"])
def test_stream_equals_generation_without_a_cache(preset, request):
    writer, sampling = writer_of(request.getfixturevalue(preset)), Sampling(max_tokens=12)
    ids, count = writer.preprocessor.prompt_ids(user("good goose")), 0
    begin = len(ids)
    while len(ids) - begin < 12:
        inputs = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)))}
        ids.append(int(np.argmax(writer.causal_lm(inputs)[0, -1])))
        count += ids[-1] in writer.end_ids
    reply = "".join(writer.stream(user("good goose"), sampling))
    assert not count
    assert reply == writer.preprocessor.tokenizer.detokenize([ids[begin:]])[0]


@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=20), Sampling(temperature=1.5, top_p=0.9, max_tokens=20, seed=3)]
)
def test_write_equals_stream(writer, sampling):
    dialogues = [user(WORDS[:length]) for length in (20, 3, 40, 7, 11)]
    expected = ["".join(writer.stream(dialogue, sampling)) for dialogue in dialogues]
    assert writer.write(dialogues, sampling) == expected
    assert len(set(expected)) == len(expected)


@pytest.mark.parametrize("preset", ["tiny_preset", "tiny_gpt2_preset"])
def test_full_window_shortens_replies(preset, request):
    writer = writer_of(request.getfixturevalue(preset), 128)
    room = 128 - len(writer.preprocessor.prompt_ids(user("x")))
    for free in (1, 5):
        prompt = user("x" * (room - free + 1))
        reply = "".join(writer.stream(prompt, Sampling()))
        assert len(reply) < 8 * free
        assert writer.write([prompt, user("x")], Sampling())[0] == reply
    with pytest.raises(InputError, match="a message is too long: .* --seq-length 128 leaves room for"):
        "".join(writer.stream(user("x" * (room + 1)), Sampling()))
    with pytest.raises(RowError, match="is too long") as fault:
        writer.write([user("x"), user("x" * (room + 1))], Sampling())
    assert fault.value.row == 1


def test_cache_length_does_not_change_replies(tiny_preset, writer):
    short_cache, sampling = writer_of(tiny_preset, least_cache=32), Sampling(max_tokens=30)
    for messages in (user("my"), user(WORDS[:30]), user(WORDS), user("my goose")):
        assert list(short_cache.stream(messages, sampling)) == list(writer.stream(messages, sampling))
