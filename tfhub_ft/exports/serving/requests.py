"""Make REST and gRPC requests to TF Serving, checked against the SavedModel."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.exports.serving.signatures import signatures
from tfhub_ft.inference.runtimes.base import Batch
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2


def rest_request(saved_model: str | Path, signature: str, inputs: Mapping[str, object]) -> dict[str, Any]:
    """Return the body of a REST request, for http://HOST:8501/v1/models/NAME:predict.

    The format is described in https://www.tensorflow.org/tfx/serving/api_rest.

    Example:
        rest_request("saved_models/reviews/1", "serving_default", {"text": ["a warm, funny film"]})
    """
    arrays = _checked_arrays(Path(saved_model), signature, inputs)
    columns = {name: [_json_value(value) for value in array] for name, array in arrays.items()}
    return {"signature_name": signature, "inputs": columns}


def grpc_request(
    saved_model: str | Path, signature: str, inputs: Mapping[str, object], *, model: str
) -> "predict_pb2.PredictRequest":  # pyright: ignore[reportAttributeAccessIssue]
    """Return the request for `PredictionService.Predict` to a served model.

    Example:
        grpc_request("saved_models/reviews/1", "serving_default", {"text": ["a funny film"]}, model="reviews")
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()  # pyright: ignore[reportAttributeAccessIssue]
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, array in _checked_arrays(Path(saved_model), signature, inputs).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def _checked_arrays(saved_model: Path, signature: str, inputs: Mapping[str, object]) -> Batch:
    """Return inputs as arrays of the signature's dtypes, or raise an InputError."""
    if not (saved_model / "saved_model.pb").is_file():
        raise InputError(
            f"{saved_model}: not a SavedModel; pass the folder of a version, such as saved_models/reviews/1"
        )
    known = signatures(saved_model)
    if signature not in known:
        raise InputError(f"{saved_model}: signature {signature!r} not found; expected one of {', '.join(known)}")
    specs = known[signature]
    if set(inputs) != set(specs):
        raise InputError(f"{signature}: expected the inputs {', '.join(specs)}, got {', '.join(inputs) or 'none'}")
    arrays = {name: _array(inputs[name], spec) for name, spec in specs.items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{signature}: all inputs must have the same number of rows, got {sizes}")
    return arrays


def _array(values: object, spec: "tf.TensorSpec") -> np.ndarray:
    sizes = ("any" if size is None else str(size) for size in spec.shape)
    expected = f"{spec.name}: expected {spec.dtype.name} of shape ({', '.join(sizes)})"
    try:
        array = np.array(values, dtype=object)
        for value in array.ravel():
            if not _has_dtype(value, spec):
                raise ValueError(f"got {value!r}")
        array = np.array(array.tolist(), spec.dtype.as_numpy_dtype)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{expected}: {error}") from error
    if not array.size or not spec.shape.is_compatible_with(array.shape):
        raise InputError(f"{expected}, got {array.shape}")
    return array


def _has_dtype(value: object, spec: "tf.TensorSpec") -> bool:
    if spec.dtype.name == "string":
        return isinstance(value, str | bytes)
    types = (int, float) if spec.dtype.is_floating else (int,)
    return isinstance(value, types) and not isinstance(value, bool)


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if getattr(value, "dtype", None) == "float32":
        # The shortest number that rounds to it: 0.7, not 0.699999988079071.
        return float(str(value))
    return value.tolist() if hasattr(value, "tolist") else value
