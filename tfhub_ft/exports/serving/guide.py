"""Write the part of a model card on TF Serving: commands that serve an export, and requests."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.exports.serving.config import (
    BATCHING_CONFIG,
    docker_command,
    first_rows,
    lacking_message,
    model_name,
    server_command,
)
from tfhub_ft.exports.serving.requests import grpc_request, rest_request
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.markdown import plain

if TYPE_CHECKING:
    import numpy as np

EXAMPLE_LETTERS = 200
# The folder that a shell runs in, in the words of commands.
WORKING_FOLDER = "\0"


def serving_guide(folder: Path, entry: dict[str, Any], feeds: "Mapping[str, Mapping[str, np.ndarray]]") -> str:
    """A Markdown section: how to serve the export, and requests that fit its signatures.

    Args:
        folder: the export folder.
        entry: the entry in export.json of the version that the requests are for.
        feeds: some rows for each signature, arrays by input; the first one is sent.
    """
    name, version = model_name(folder), folder / entry["path"]
    examples = {signature: _example(feed) for signature, feed in feeds.items()}
    base = Path(folder.name, entry["path"]).parent
    model = [f"--model_name={name}", f"--model_base_path={WORKING_FOLDER}/{base}"]
    posts = "\n".join(_curl(name, rest_request(version, signature, example)) for signature, example in examples.items())
    request = grpc_request(version, "serving_default", examples["serving_default"], model=name)
    return f"""## TF Serving

From the folder that holds `{plain(folder.name)}/`: with Docker; or where TF Serving is installed; or the same with
tfhub_ft. The model is served as `{name}`.

```
{_shell(docker_command(folder, parent=WORKING_FOLDER))}
{_shell(server_command(model, f"{folder.name}/{BATCHING_CONFIG}"))}
{command_line("tfhub-ft", "serve", Path(folder.name))}
```

The server warms the model up with requests in its folder, and loads a new version as soon as it exists.

{_operations(entry)}

A request by REST for each signature:

```
{posts}
```

And by gRPC, with the package `tensorflow-serving-api`:

```python
{_grpc(request)}
```

{_batching("tokens" in feeds)}
"""


def _batching(has_tokens: bool) -> str:
    batched = "Requests that come in at once are answered as one batch (batching.config)."
    if not has_tokens:
        return batched
    return f"""{batched} Token ids that are sent to `tokens` must then
have one length, with a mask of 0 after shorter texts; requests of other lengths are refused while batching is on."""


def _example(feed: "Mapping[str, np.ndarray]") -> dict[str, list[Any]]:
    """The first row of a signature's inputs, long texts cut."""
    row = {name: array.tolist() for name, array in first_rows(feed, 1).items()}
    return {
        name: [value[:EXAMPLE_LETTERS] if isinstance(value, str) else value for value in values]
        for name, values in row.items()
    }


def _operations(entry: dict[str, Any]) -> str:
    lines = ["What each signature needs beyond TensorFlow's own operations:", ""]
    for signature, operations in entry["ops"].items():
        lines.append(f"- `{signature}`: {', '.join(f'`{each}`' for each in operations) or 'nothing'}")
    lacking = entry["lacking_in_tf_serving"]
    if any(lacking.values()):
        message = lacking_message(lacking)
        lines += ["", f"**{message[0].upper()}{message[1:]}.** What a stock server cannot run is not warmed up."]
    return "\n".join(lines)


def _curl(name: str, body: dict[str, Any]) -> str:
    url = f"http://localhost:8501/v1/models/{name}:predict"
    return command_line("curl", url, "-d", json.dumps(body, ensure_ascii=False))


def _shell(words: Sequence[str]) -> str:
    """Return a command as a shell reads it, which puts the working folder in."""
    return " ".join('"$PWD"'.join(part and shlex.quote(part) for part in word.split(WORKING_FOLDER)) for word in words)


def _grpc(request: Any) -> str:
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
