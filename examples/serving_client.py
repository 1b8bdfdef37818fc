"""Request predictions of an exported classifier from TF Serving, over REST or gRPC.

    tfhub-ft serve saved_models/reviews
    python examples/serving_client.py --rest http://localhost:8501 --model reviews "a warm, funny film"
    python examples/serving_client.py --grpc localhost:8500 --model reviews "a warm, funny film"

The client does not need tfhub_ft: `pip install click requests`, and tensorflow-serving-api for gRPC. It prints a line
per text: the label, its probability and the text.
"""

from collections.abc import Sequence
from typing import Any

import click

SIGNATURE = "serving_default"


@click.command()
@click.option("--rest", metavar="URL", help="Address of TF Serving's REST API, such as http://localhost:8501.")
@click.option("--grpc", "target", metavar="HOST:PORT", help="Address of TF Serving's gRPC API, such as localhost:8500.")
@click.option("--model", required=True, metavar="NAME", help="Name of the served model: that of the export folder.")
@click.option("--timeout", default=10.0, show_default=True, help="Timeout of the request in seconds.")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
def main(rest: str | None, target: str | None, model: str, timeout: float, texts: tuple[str, ...]) -> None:
    """Classify texts with a model in TF Serving."""
    if bool(rest) == bool(target):
        raise click.UsageError("pass either --rest or --grpc")
    ask, address = (ask_rest, rest) if rest else (ask_grpc, target)
    for text, (label, score) in zip(texts, ask(address, model, texts, timeout), strict=True):
        click.echo(f"{label}\t{score:.4f}\t{text}")


def ask_rest(url: str, model: str, texts: Sequence[str], timeout: float) -> list[tuple[str, float]]:
    """Return labels and scores from the REST API, in TF Serving's column format.

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest#predict_api
    """
    import requests

    body = {"signature_name": SIGNATURE, "inputs": {"text": list(texts)}}
    try:
        response = requests.post(f"{url.rstrip('/')}/v1/models/{model}:predict", json=body, timeout=timeout)
    except requests.RequestException as error:
        raise click.ClickException(f"{url}: no response: {error}") from error
    if not response.ok:
        raise click.ClickException(f"{url}: status {response.status_code}: {_reason(response)}")
    outputs = response.json()["outputs"]
    return list(zip(outputs["label"], outputs["score"], strict=True))


def ask_grpc(target: str, model: str, texts: Sequence[str], timeout: float) -> list[tuple[str, float]]:
    """Return labels and scores from the gRPC API.

    Reference:
        https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(list(texts)))
    # Only these outputs are sent.
    request.output_filter.extend(["label", "score"])
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = stub.Predict(request, timeout=timeout).outputs
        except grpc.RpcError as error:
            raise click.ClickException(f"{target}: {error.code().name}: {error.details()}") from error
    labels, scores = (tf.make_ndarray(outputs[name]) for name in ("label", "score"))
    return [(label.decode(), float(score)) for label, score in zip(labels, scores, strict=True)]


def _reason(response: Any) -> str:
    """Return the error message of a response."""
    try:
        return response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return response.reason


if __name__ == "__main__":
    main()
