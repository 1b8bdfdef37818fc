"""Requests to TF Serving, for its REST and its gRPC interface, checked against the SavedModel that shall answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.exports.serving.signatures import signatures
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2


def rest_request(saved_model: str | Path, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a REST request, in TF Serving's column format.

    Args:
        saved_model: the SavedModel's folder, such as saved_models/reviews/1.
        signature: the signature to call.
        inputs: an array or list for each of its inputs, by name, with an entry a row: texts, or lists of token ids.

    Returns:
        {"signature_name", "inputs"}, to be sent as JSON to http://HOST:8501/v1/models/NAME:predict.

    Raises:
        InputError: there is no such signature, or the names, dtypes or shapes are not those that it takes.

    Example:
        rest_request("saved_models/reviews/1", "serving_default", {"text": ["a warm, funny film"]})

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest
    """
    arrays = _checked(Path(saved_model), signature, inputs)
    columns = {name: [_text(each) for each in array] for name, array in arrays.items()}
    return {"signature_name": signature, "inputs": columns}


def grpc_request(
    saved_model: str | Path, signature: str, inputs: Mapping[str, Any], *, model: str
) -> "predict_pb2.PredictRequest":
    """The request for `PredictionService.Predict`.

    Args:
        saved_model: the SavedModel's folder.
        signature: the signature to call.
        inputs: as for `rest_request`.
        model: the name under which the model is served.

    Returns:
        A tensorflow_serving.apis.predict_pb2.PredictRequest.

    Raises:
        InputError: as of `rest_request`.

    Example:
        grpc_request("saved_models/reviews/1", "serving_default", {"text": ["a funny film"]}, model="reviews")
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, array in _checked(Path(saved_model), signature, inputs).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def _checked(saved_model: Path, signature: str, inputs: Mapping[str, Any]) -> "dict[str, np.ndarray]":
    """The inputs as arrays of the signature's dtypes, in the order of their names."""
    if not (saved_model / "saved_model.pb").is_file():
        raise InputError(
            f"{saved_model} is no SavedModel: name the folder of a version, such as saved_models/reviews/1"
        )
    known = signatures(saved_model)
    if signature not in known:
        raise InputError(f"{saved_model} has no signature {signature!r}; it has {', '.join(known)}")
    if set(inputs) != set(known[signature]):
        raise InputError(f"{signature} takes {', '.join(known[signature])}, not {', '.join(inputs) or 'nothing'}")
    arrays = {name: _array(inputs[name], spec) for name, spec in known[signature].items()}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{signature}: each input must have as many rows as the others, not {sizes}")
    return arrays


def _array(values: Any, spec: "tf.TensorSpec") -> "np.ndarray":
    import numpy as np

    wanted = f"{spec.name} must be {spec.dtype.name} of the shape ({', '.join(map(_size, spec.shape))})"
    try:
        found = np.array(values, dtype=object)
        strange = next((each for each in found.ravel() if not _fits(each, spec)), None)
        if strange is not None:
            raise ValueError(f"{strange!r} does not fit")
        found = np.array(found.tolist(), spec.dtype.as_numpy_dtype)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{wanted}: {error}") from error
    if not found.size or not spec.shape.is_compatible_with(found.shape):
        raise InputError(f"{wanted}, not {found.shape}")
    return found


def _fits(value: Any, spec: "tf.TensorSpec") -> bool:
    if spec.dtype.name == "string":
        return isinstance(value, str | bytes)
    kinds = (int, float) if spec.dtype.is_floating else (int,)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _size(size: int | None) -> str:
    return "any" if size is None else str(size)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if getattr(value, "dtype", None) == "float32":
        # As short as float32 can tell it: 0.7, not 0.699999988079071.
        return float(str(value))
    return value.tolist() if hasattr(value, "tolist") else value
