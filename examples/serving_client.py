"""Asks TF Serving for the answers of a classifier that tfhub-ft exported, by REST or by gRPC.

    tfhub-ft serve saved_models/reviews
    python examples/serving_client.py --rest http://localhost:8501 --model reviews "a warm, funny film"
    python examples/serving_client.py --grpc localhost:8500 --model reviews "a warm, funny film"

It needs nothing of tfhub_ft: `pip install click requests`, and for gRPC tensorflow-serving-api. A line for each text:
its label, the label's probability, the text.
"""

from collections.abc import Sequence
from typing import Any

import click

SIGNATURE = "serving_default"


@click.command()
@click.option("--rest", metavar="URL", help="TF Serving's address for REST, such as http://localhost:8501.")
@click.option("--grpc", "target", metavar="HOST:PORT", help="Its address for gRPC, such as localhost:8500.")
@click.option("--model", required=True, metavar="NAME", help="The name that it is served under: the export folder's.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for the answers.")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
def main(rest: str | None, target: str | None, model: str, timeout: float, texts: tuple[str, ...]) -> None:
    """Classify texts by a model that TF Serving serves."""
    if bool(rest) == bool(target):
        raise click.UsageError("give either --rest or --grpc")
    ask, address = (ask_rest, rest) if rest else (ask_grpc, target)
    for text, (label, score) in zip(texts, ask(address, model, texts, timeout), strict=True):
        click.echo(f"{label}\t{score:.4f}\t{text}")


def ask_rest(url: str, model: str, texts: Sequence[str], timeout: float) -> list[tuple[str, float]]:
    """Labels and scores by REST, in TF Serving's column format.

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest#predict_api
    """
    import requests

    body = {"signature_name": SIGNATURE, "inputs": {"text": list(texts)}}
    try:
        response = requests.post(f"{url.rstrip('/')}/v1/models/{model}:predict", json=body, timeout=timeout)
    except requests.RequestException as error:
        raise click.ClickException(f"{url} does not answer: {error}") from error
    if not response.ok:
        raise click.ClickException(f"{url} answers {response.status_code}: {_reason(response)}")
    outputs = response.json()["outputs"]
    return list(zip(outputs["label"], outputs["score"], strict=True))


def ask_grpc(target: str, model: str, texts: Sequence[str], timeout: float) -> list[tuple[str, float]]:
    """Labels and scores by gRPC.

    Reference:
        https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, SIGNATURE
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(list(texts)))
    # What is not asked for is not sent.
    request.output_filter.extend(["label", "score"])
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            outputs = stub.Predict(request, timeout=timeout).outputs
        except grpc.RpcError as error:
            raise click.ClickException(f"{target} answers {error.code().name}: {error.details()}") from error
    labels, scores = (tf.make_ndarray(outputs[name]) for name in ("label", "score"))
    return [(label.decode(), float(score)) for label, score in zip(labels, scores, strict=True)]


def _reason(response: Any) -> str:
    """What a server says went wrong."""
    try:
        return response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return response.reason


if __name__ == "__main__":
    main()
