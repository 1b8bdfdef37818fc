import pytest
import tensorflow as tf

from tfhub_ft import dialogue_model

PROMPTS = ["good goose", "", "naïve: 12 €\n", "the nest " * 20]


def preprocessor_of(preset, **arguments):
    model = dialogue_model(name="dialogue", language_model=str(preset), **arguments)
    return model.get_layer("preprocessor")


@pytest.mark.parametrize(
    ("preset", "system"), [("tiny_preset", None), ("tiny_preset", "You are good."), ("tiny_gpt2_preset", None)]
)
def test_prompt_tokens_equal_prompt_ids(preset, system, request):
    preprocessor = preprocessor_of(request.getfixturevalue(preset), system=system, seq_length=256)
    tokens = tf.function(preprocessor.prompt_tokens)(tf.constant(PROMPTS), room=tf.constant([1, 2, 3, 100]))
    assert tokens.to_list() == [preprocessor.prompt_ids([{"role": "user", "content": prompt}]) for prompt in PROMPTS]
