import subprocess
import sys

import tensorflow as tf

from tests.unit.language_models.test_byte_pair import make_tokenizer


def test_saved_tokenizer_runs_with_tensorflow_only(tmp_path):
    module = tf.Module()
    module.tokenizer = tokenizer = make_tokenizer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize_and_detokenize(texts):
        ids = tokenizer(texts)
        return {"ids": ids.flat_values, "text": tokenizer.detokenize(ids)}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures=tokenize_and_detokenize)
    text = "the  12 <|im_end|>\n antidisestablishmentarianism 😀"
    script = (
        "import sys, tensorflow as tf\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "outputs = serve(tf.constant([sys.argv[2]]))\n"
        "assert outputs['text'].numpy()[0].decode() == sys.argv[2]\n"
        "print(*outputs['ids'].numpy())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model"), text], capture_output=True, text=True)
    assert done.stdout.split() == [str(number) for number in tokenizer([text])[0]], done.stderr
