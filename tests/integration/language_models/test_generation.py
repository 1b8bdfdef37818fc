import numpy as np
import pytest

from tfhub_ft import dialogue_model
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.utils.errors import InputError, RowError

WORDS = "good goose nest the in user use error you my"


def writer_of(preset, seq_length=256, **options):
    return ReplyWriter(dialogue_model(name="dialogue", language_model=str(preset), seq_length=seq_length), **options)


def asked(prompt):
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def writer(tiny_preset):
    return writer_of(tiny_preset)


@pytest.mark.parametrize("preset", ["tiny_preset", "tiny_gpt2_preset"])
def test_what_is_written_is_what_a_model_without_a_cache_writes(preset, request):
    writer, sampling = writer_of(request.getfixturevalue(preset)), Sampling(max_tokens=12)
    ids, count = writer.preprocessor.prompt_ids(asked("good goose")), 0
    begin = len(ids)
    while len(ids) - begin < 12:
        read = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)))}
        ids.append(int(np.argmax(writer.causal_lm(read)[0, -1])))
        count += ids[-1] in writer.end_ids
    said = "".join(writer.stream(asked("good goose"), sampling))
    assert not count
    assert said == writer.preprocessor.tokenizer.detokenize([ids[begin:]])[0]


@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=20), Sampling(temperature=1.5, top_p=0.9, max_tokens=20, seed=3)]
)
def test_many_replies_at_once_are_those_of_each_alone(writer, sampling):
    dialogues = [asked(WORDS[:length]) for length in (20, 3, 40, 7, 11)]
    alone = ["".join(writer.stream(dialogue, sampling)) for dialogue in dialogues]
    assert writer.write(dialogues, sampling) == alone
    assert len(set(alone)) == len(alone)


@pytest.mark.parametrize("preset", ["tiny_preset", "tiny_gpt2_preset"])
def test_a_window_that_is_full_makes_replies_shorter(preset, request):
    writer = writer_of(request.getfixturevalue(preset), 128)
    room = 128 - len(writer.preprocessor.prompt_ids(asked("x")))
    for free in (1, 5):
        prompt = asked("x" * (room - free + 1))
        said = "".join(writer.stream(prompt, Sampling()))
        assert len(said) < 8 * free
        assert writer.write([prompt, asked("x")], Sampling())[0] == said
    with pytest.raises(InputError, match="a message is too long: .* of which --seq-length 128 leaves"):
        "".join(writer.stream(asked("x" * (room + 1)), Sampling()))
    with pytest.raises(RowError, match="is too long") as fault:
        writer.write([asked("x"), asked("x" * (room + 1))], Sampling())
    assert fault.value.row == 1


def test_the_length_of_the_cache_changes_no_reply(tiny_preset, writer):
    by_turns, sampling = writer_of(tiny_preset, least_cache=32), Sampling(max_tokens=30)
    for messages in (asked("my"), asked(WORDS[:30]), asked(WORDS), asked("my goose")):
        assert list(by_turns.stream(messages, sampling)) == list(writer.stream(messages, sampling))
