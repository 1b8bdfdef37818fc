"""The client with servers that implement TF Serving's APIs on top of a real export."""

import importlib.util
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

import tfhub_ft

FILE = Path(__file__).parents[3] / "examples" / "serving_client.py"
TEXTS = ["good film so nice", "bad room so awful", "übel, 房间"]


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("serving_client", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def served(tiny_export):
    """Return the signature that both servers call."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the tokenizer's operations

    loaded = tf.saved_model.load(str(tiny_export / "1"))

    def answer(model, signature, texts):
        if model != tiny_export.name:
            raise LookupError(f"Servable not found for request: Latest({model})")
        outputs = loaded.signatures[signature](text=tf.constant(texts))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return answer


@pytest.fixture(scope="module")
def rest(served):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model = self.path.removeprefix("/v1/models/").removesuffix(":predict")
            try:
                outputs = served(model, body["signature_name"], body["inputs"]["text"])
                code, said = 200, {"outputs": {name: _listed(array) for name, array in outputs.items()}}
            except LookupError as error:
                code, said = 404, {"error": str(error)}
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _listed(array):
    return [each.decode() if isinstance(each, bytes) else each for each in array.tolist()]


@pytest.fixture(scope="module")
def rpc(served):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802  gRPC's own name
            texts = tf.make_ndarray(request.inputs["text"])
            try:
                outputs = served(request.model_spec.name, request.model_spec.signature_name, texts)
            except LookupError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            response = predict_pb2.PredictResponse()
            for name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_client_prints_the_predictions_of_the_export(client, rest, rpc, tiny_export, way):
    address = rest if way == "rest" else rpc
    done = CliRunner().invoke(client, [f"--{way}", address, "--model", tiny_export.name, *TEXTS])
    assert done.exit_code == 0, done.output
    expected = tfhub_ft.predict(tiny_export, TEXTS)
    for line, text, answer in zip(done.output.splitlines(), TEXTS, expected, strict=True):
        label, score, said = line.split("\t")
        assert (label, said) == (answer["label"], text)
        assert float(score) == pytest.approx(answer["score"], abs=1e-3)


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_client_prints_server_errors_in_one_line(client, rest, rpc, way):
    address = rest if way == "rest" else rpc
    done = CliRunner().invoke(client, [f"--{way}", address, "--model", "other", *TEXTS])
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert "Servable not found for request: Latest(other)" in line
    assert address in line


@pytest.mark.parametrize("arguments", [["--rest", "http://127.0.0.1:9"], ["--grpc", "127.0.0.1:9", "--timeout", "3"]])
def test_client_reports_a_missing_server_in_one_line(client, arguments):
    done = CliRunner().invoke(client, [*arguments, "--model", "tiny", *TEXTS])
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("Error: ")
    assert "127.0.0.1:9" in line


@pytest.mark.parametrize("arguments", [[], ["--rest", "http://127.0.0.1:9", "--grpc", "127.0.0.1:9"]])
def test_client_requires_one_server(client, arguments):
    done = CliRunner().invoke(client, [*arguments, "--model", "tiny", *TEXTS])
    assert done.exit_code == 2
    assert "pass either --rest or --grpc" in done.output
