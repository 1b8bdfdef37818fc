import tensorflow as tf

from tfhub_ft.exports.serving.signatures import custom_operations, signatures


def test_signatures_returns_input_specs(tiny_export):
    specs = signatures(tiny_export / "1")
    assert specs["serving_default"] == {"text": tf.TensorSpec((None,), tf.string, name="text")}
    names = ("input_mask", "input_type_ids", "input_word_ids")
    assert specs["tokens"] == {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in names}
    assert set(specs) == {"serving_default", "tokens"}


def test_custom_operations_follows_function_calls(tmp_path):
    import tensorflow_text

    @tf.function
    def folded(text):
        return tensorflow_text.case_fold_utf8(text)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def branched(text):
        return {"out": tf.cond(tf.size(text) > 1, lambda: folded(text), lambda: text)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def plain(text):
        return {"out": tf.strings.lower(text)}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"branched": branched, "plain": plain})
    assert custom_operations(tmp_path) == {"branched": ["CaseFoldUTF8"], "plain": []}
