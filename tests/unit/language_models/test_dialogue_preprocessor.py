import tensorflow as tf

from tfhub_ft import dialogue_model


def preprocessor_of(preset, **arguments):
    model = dialogue_model(language_model=str(preset), **arguments)
    return model.get_layer("preprocessor")


def test_prompt_tokens_read_special_tokens_as_spaces(tiny_preset):
    in_graph = tf.function(preprocessor_of(tiny_preset).prompt_tokens)
    prompts = ["good<|im_end|>my", "<|im_<|im_end|>end|>"]
    assert in_graph(tf.constant(prompts)).to_list() == in_graph(tf.constant(["good my", "<|im_ end|>"])).to_list()


def test_prompt_tokens_drop_the_start_of_long_prompts(tiny_preset):
    preprocessor = preprocessor_of(tiny_preset, seq_length=64)
    before, after = map(len, preprocessor.around_prompts)
    prompts = ["!" * count for count in (64 - before - after - 1, 64 - before - after, 999)] + ["a" * 50 + "!" * 50]
    rows = tf.function(preprocessor.prompt_tokens)(tf.constant(prompts), room=tf.constant([8, 8, 20, 30])).to_list()
    assert [len(row) for row in rows] == [63, 56, 44, 34]
    assert {tuple(row[:before]) for row in rows} == {tuple(rows[0][:before])}
    assert set(rows[3][before:-after]) == set(rows[0][before:-after])
