import json

import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.exports.serving.requests import grpc_request, rest_request
from tfhub_ft.utils.errors import InputError

TOKENS = {name: [[3, 4], [5, 6]] for name in ("input_word_ids", "input_mask", "input_type_ids")}


def test_rest_request_is_json_that_fits_the_signature(tiny_export):
    body = rest_request(tiny_export / "1", "serving_default", {"text": np.array(["good film", "übel"])})
    assert json.loads(json.dumps(body)) == {
        "signature_name": "serving_default",
        "inputs": {"text": ["good film", "übel"]},
    }
    body = json.loads(json.dumps(rest_request(tiny_export / "1", "tokens", TOKENS)))
    assert body["inputs"]["input_mask"] == [[3, 4], [5, 6]]


def test_grpc_request_has_the_tensors_of_the_signature(tiny_export):
    arrays = {name: np.array(ids, "int64") for name, ids in TOKENS.items()}
    request = grpc_request(tiny_export / "1", "tokens", arrays, model="tiny")
    assert (request.model_spec.name, request.model_spec.signature_name) == ("tiny", "tokens")
    for name, ids in TOKENS.items():
        assert tf.make_ndarray(request.inputs[name]).tolist() == ids
        assert request.inputs[name].dtype == tf.int32.as_datatype_enum
    request = grpc_request(tiny_export / "1", "serving_default", {"text": ["übel"]}, model="tiny")
    assert tf.make_ndarray(request.inputs["text"])[0].decode() == "übel"


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("classify", {"text": ["a"]}, "signature 'classify' not found; expected one of serving_default, tokens"),
        ("serving_default", {"texts": ["a"]}, "expected the inputs text, got texts"),
        ("serving_default", {}, "expected the inputs text, got none"),
        ("serving_default", {"text": "a"}, r"text: expected string of shape \(any\), got \(\)"),
        ("serving_default", {"text": [["a"]]}, r"\(any\), got \(1, 1\)"),
        ("serving_default", {"text": []}, r"\(any\), got \(0,\)"),
        ("serving_default", {"text": [1]}, "text: expected string .* got 1"),
        ("tokens", {**TOKENS, "input_mask": [[1, 1]]}, "must have the same number of rows"),
        ("tokens", {**TOKENS, "input_mask": [[1], [1, 1]]}, "input_mask: expected int32"),
        ("tokens", {**TOKENS, "input_mask": [1, 1]}, r"\(any, any\), got \(2,\)"),
        ("tokens", {**TOKENS, "input_mask": [[0.5, 1], [1, 1]]}, "got 0.5"),
        ("tokens", {**TOKENS, "input_mask": [[True, True]] * 2}, "got True"),
        ("tokens", {**TOKENS, "input_mask": np.full((2, 2), 2**40)}, "input_mask: expected int32"),
    ],
)
def test_requests_refuse_inputs_that_do_not_fit(tiny_export, signature, inputs, message):
    for build in (rest_request, lambda *arguments: grpc_request(*arguments, model="tiny")):
        with pytest.raises(InputError, match=message) as caught:
            build(tiny_export / "1", signature, inputs)
        assert "\n" not in str(caught.value)


def test_rest_request_refuses_other_folders(tiny_export):
    with pytest.raises(InputError, match="not a SavedModel"):
        rest_request(tiny_export, "serving_default", {"text": ["a"]})
