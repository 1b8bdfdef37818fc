import json
import re
import shlex

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tfhub_ft.exports.serving.guide import serving_guide


def test_card_has_curl_requests_that_run(tiny_export):
    bodies = curl_bodies((tiny_export / "README.md").read_text())
    assert [body["signature_name"] for body in bodies] == ["serving_default", "tokens"]
    loaded = tf.saved_model.load(str(tiny_export / "1"))
    text, tokens = (
        loaded.signatures[body["signature_name"]](
            **{name: tf.constant(column) for name, column in body["inputs"].items()}
        )
        for body in bodies
    )
    np.testing.assert_allclose(text["logits"], tokens["logits"], atol=1e-5)


def test_card_has_a_grpc_request_that_runs(tiny_export):
    request = grpc_example((tiny_export / "README.md").read_text())
    assert isinstance(request, predict_pb2.PredictRequest)
    assert request.model_spec.name == "tiny"
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    assert inputs["text"].tolist() == [b"This is an example."]
    outputs = tf.saved_model.load(str(tiny_export / "1")).signatures["serving_default"](
        text=tf.constant(inputs["text"])
    )
    assert outputs["label"].shape == (1,)


def test_serving_guide_quotes_texts(tiny_export):
    text = 'it\'s "so" bad: \\n """quoted""" \n naïve $PATH `x` 房间'
    form = json.loads((tiny_export / "export.json").read_text())["forms"][0]
    guide = serving_guide(tiny_export, form, {"serving_default": {"text": np.array([text, "other"])}})
    (body,) = curl_bodies(guide)
    assert body["inputs"]["text"] == [text]
    assert tf.make_ndarray(grpc_example(guide).inputs["text"])[0].decode() == text


def test_serving_guide_names_missing_operations(tiny_export):
    form = json.loads((tiny_export / "export.json").read_text())["forms"][0]
    form["lacking_in_tf_serving"]["serving_default"] = ["TFText>RoundRobinTrim"]
    guide = serving_guide(tiny_export, form, {"serving_default": {"text": np.array(["a good film"])}})
    assert "**A stock TF Serving lacks TFText>RoundRobinTrim for serving_default" in guide


def test_card_lists_operations_and_commands(tiny_export):
    card = (tiny_export / "README.md").read_text()
    assert "A stock TF Serving lacks" not in card
    assert "- `tokens`: none" in card
    assert 'docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD"/tiny:/models/tiny tensorflow/serving' in card
    assert '--model_base_path="$PWD"/tiny' in card
    assert "tfhub-ft serve tiny" in card


def curl_bodies(card):
    lines = [shlex.split(line) for line in card.splitlines() if line.startswith("curl ")]
    assert all(words[1].endswith(":predict") and words[2] == "-d" for words in lines)
    return [json.loads(words[3]) for words in lines]


def grpc_example(card):
    """Return the request that the Python code of a card builds, without sending it."""
    (code,) = re.findall(r"```python\n(import grpc.*?)\n```", card, re.DOTALL)
    names = {}
    exec(code[: code.index("stub = ")], names)
    return names["request"]
