"""Write the section of a model card on TF Serving: commands and requests."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.export_folder import Entry
from tfhub_ft.exports.serving.config import (
    BATCHING_CONFIG,
    docker_command,
    first_rows,
    lacking_message,
    model_name,
    server_command,
)
from tfhub_ft.exports.serving.requests import grpc_request, rest_request
from tfhub_ft.inference.runtimes.base import Batch
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.markdown import plain

if TYPE_CHECKING:
    from google.protobuf.message import Message

# A placeholder for the working folder in commands.
WORKING_FOLDER = "\0"


def serving_guide(folder: Path, entry: Entry, feeds: Mapping[str, Batch]) -> str:
    """Return a Markdown section on how to serve a SavedModel, with the first row of each signature as an example."""
    name, version = model_name(folder), folder / entry["path"]
    examples = {signature: first_rows(feed, 1) for signature, feed in feeds.items()}
    base = Path(folder.name, entry["path"]).parent
    model = [f"--model_name={name}", f"--model_base_path={WORKING_FOLDER}/{base}"]
    posts = "\n".join(_curl(name, rest_request(version, signature, example)) for signature, example in examples.items())
    batching = "Requests that arrive at the same time form one batch (batching.config)."
    if "tokens" in feeds:
        batching += " Requests to `tokens` must all have the same length then, with a mask of 0 for padding."
    request = grpc_request(version, "serving_default", examples["serving_default"], model=name)
    return f"""## TF Serving

Run one of these commands in the folder that contains `{plain(folder.name)}/`: the first one with Docker, the second one
with an installed TF Serving, the third one with tfhub_ft and an installed TF Serving. The model is served as `{name}`.

```
{_shell(docker_command(folder, parent=WORKING_FOLDER))}
{_shell(server_command(model, f"{folder.name}/{BATCHING_CONFIG}"))}
{command_line("tfhub-ft", "serve", Path(folder.name))}
```

The server warms up the model with requests from its folder, and loads a new version when it appears.

{_operations(entry)}

REST requests for each signature:

```
{posts}
```

A gRPC request, with the package `tensorflow-serving-api`:

```python
{_grpc_code(request)}
```

{batching}
"""


def _operations(entry: Entry) -> str:
    lines = ["Operations that each signature needs and TensorFlow itself lacks:", ""]
    for signature, operations in entry["ops"].items():
        lines.append(f"- `{signature}`: {', '.join(f'`{name}`' for name in operations) or 'none'}")
    lacking = entry["lacking_in_tf_serving"]
    if any(lacking.values()):
        message = lacking_message(lacking)
        lines += ["", f"**{message[0].upper()}{message[1:]}.** Signatures that it cannot run are not warmed up."]
    return "\n".join(lines)


def _curl(name: str, body: dict[str, object]) -> str:
    url = f"http://localhost:8501/v1/models/{name}:predict"
    return command_line("curl", url, "-d", json.dumps(body, ensure_ascii=False))


def _shell(words: Sequence[str]) -> str:
    """Return a command for a shell, with "$PWD" for the working folder."""
    return " ".join('"$PWD"'.join(part and shlex.quote(part) for part in word.split(WORKING_FOLDER)) for word in words)


def _grpc_code(request: "Message") -> str:
    from google.protobuf import text_format

    content = text_format.MessageToString(request, as_utf8=True).rstrip().replace("\\", "\\\\")
    return f'''import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

request = text_format.Parse("""
{content}
""", predict_pb2.PredictRequest())
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
print(stub.Predict(request, timeout=10))'''
