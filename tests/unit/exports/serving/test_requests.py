import json

import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.exports.serving.requests import grpc_request, rest_request
from tfhub_ft.utils.errors import InputError

TOKENS = {name: [[3, 4], [5, 6]] for name in ("input_word_ids", "input_mask", "input_type_ids")}


def test_a_rest_body_is_json_that_the_signature_takes(tiny_export):
    body = rest_request(tiny_export / "1", "serving_default", {"text": np.array(["good film", "übel"])})
    assert json.loads(json.dumps(body)) == {
        "signature_name": "serving_default",
        "inputs": {"text": ["good film", "übel"]},
    }
    body = json.loads(json.dumps(rest_request(tiny_export / "1", "tokens", TOKENS)))
    assert body["inputs"]["input_mask"] == [[3, 4], [5, 6]]


def test_a_grpc_request_has_the_tensors_that_the_signature_takes(tiny_export):
    arrays = {name: np.array(ids, "int64") for name, ids in TOKENS.items()}
    request = grpc_request(tiny_export / "1", "tokens", arrays, model="tiny")
    assert (request.model_spec.name, request.model_spec.signature_name) == ("tiny", "tokens")
    for name, ids in TOKENS.items():
        assert tf.make_ndarray(request.inputs[name]).tolist() == ids
        assert request.inputs[name].dtype == tf.int32.as_datatype_enum
    request = grpc_request(tiny_export / "1", "serving_default", {"text": ["übel"]}, model="tiny")
    assert tf.make_ndarray(request.inputs["text"])[0].decode() == "übel"


@pytest.mark.parametrize(
    ("signature", "inputs", "words"),
    [
        ("classify", {"text": ["a"]}, "has no signature 'classify'; it has serving_default, tokens"),
        ("serving_default", {"texts": ["a"]}, "takes text, not texts"),
        ("serving_default", {}, "takes text, not nothing"),
        ("serving_default", {"text": "a"}, r"text must be string of the shape \(any\), not \(\)"),
        ("serving_default", {"text": [["a"]]}, r"\(any\), not \(1, 1\)"),
        ("serving_default", {"text": []}, r"\(any\), not \(0,\)"),
        ("serving_default", {"text": [1]}, "text must be string .* 1 does not fit"),
        ("tokens", {**TOKENS, "input_mask": [[1, 1]]}, "as many rows as the others"),
        ("tokens", {**TOKENS, "input_mask": [[1], [1, 1]]}, "input_mask must be int32"),
        ("tokens", {**TOKENS, "input_mask": [1, 1]}, r"\(any, any\), not \(2,\)"),
        ("tokens", {**TOKENS, "input_mask": [[0.5, 1], [1, 1]]}, "0.5 does not fit"),
        ("tokens", {**TOKENS, "input_mask": [[True, True]] * 2}, "True does not fit"),
        ("tokens", {**TOKENS, "input_mask": np.full((2, 2), 2**40)}, "input_mask must be int32"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tiny_export, signature, inputs, words):
    for build in (rest_request, lambda *arguments: grpc_request(*arguments, model="tiny")):
        with pytest.raises(InputError, match=words) as caught:
            build(tiny_export / "1", signature, inputs)
        assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_saved_model_is_refused(tiny_export):
    with pytest.raises(InputError, match="is no SavedModel"):
        rest_request(tiny_export, "serving_default", {"text": ["a"]})
