"""Write warm-up requests and the configuration of TF Serving, and find out what it cannot run."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tfhub_ft.inference.runtimes.base import Batch
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.files import write_text

WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_ROWS = (1, 8, 32)
SERVER = "tensorflow_model_server"
MODELS_CONFIG, BATCHING_CONFIG = "models.config", "batching.config"

# The operations of TF Text 2.12.1, from its wheel. TF Serving links this version up to 2.19 at least
# (https://github.com/tensorflow/serving/pull/4057); its main branch links 2.20.0. Operations of newer versions are
# missing: TFText>RoundRobinTrim, TFText>RoundRobinGenerateMasks, TFText>Utf8Binarize.
STOCK_OPERATIONS = frozenset(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets FindSourceOffsets
    MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize RegexSplitWithOffsets RougeL
    SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
    TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
    TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize TFText>WhitespaceTokenizeWithOffsetsV2
    TokenizerFromLogits UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
    """.split()  # noqa: SIM905  a list literal would be ten times as long
)

MODELS_TEXT = """\
# For TF Serving's --model_config_file, with this folder mounted at /models/{name}; `tfhub-ft serve` replaces that by
# the folder's path. You can edit this file: it is written once. TF Serving serves the newest version.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{base}"
    model_platform: "tensorflow"
  }}
}}
"""

BATCHING_TEXT = """\
# For TF Serving's --batching_parameters_file, for CPUs. You can edit this file: it is written once.
# Maximum number of rows in a batch; larger requests are rejected.
max_batch_size { value: MAX_BATCH_SIZE }
# Requests do not wait for others; a batch consists of the requests that arrived while all threads were busy.
batch_timeout_micros { value: 0 }
# Maximum number of waiting batches; further requests are rejected.
max_enqueued_batches { value: 64 }
# num_batch_threads defaults to the number of cores.
# TF Serving would pad token ids with the first value of each tensor, and input_mask with 1, which makes padding part of
# the text. Without padding it rejects batches of different lengths, so send token ids of one length.
pad_variable_length_inputs: false
"""


def prepare_for_serving(saved_model: Path, feeds: Mapping[str, Batch], name: str) -> dict[str, dict[str, list[str]]]:
    """Write warm-up requests for the signatures that a stock TF Serving can run, from rows for each signature.

    TF Serving does not load a model if a warm-up request fails.

    Returns:
        {"ops": {signature: its operations that TensorFlow lacks}, "lacking_in_tf_serving": {signature: those that a
        stock TF Serving lacks, too}}.
    """
    from tfhub_ft.exports.serving.signatures import custom_operations

    operations = custom_operations(saved_model)
    lacking = {signature: sorted(set(used) - STOCK_OPERATIONS) for signature, used in operations.items()}
    supported = {signature: feed for signature, feed in feeds.items() if not lacking[signature]}
    _write_warmup_requests(saved_model, supported, name)
    if any(lacking.values()):
        warn(lacking_message(lacking))
    return {"ops": operations, "lacking_in_tf_serving": lacking}


def lacking_message(lacking: Mapping[str, list[str]]) -> str:
    """Return a message about signatures that a stock TF Serving cannot run, given the operations that it lacks."""
    operations = ", ".join(sorted(set().union(*lacking.values())))
    signatures = " and ".join(signature for signature, missing in lacking.items() if missing)
    text_version = version("tensorflow-text").rpartition(".")[0]
    message = f"a stock TF Serving lacks {operations} for {signatures}; use a build with TF Text {text_version}"
    return message if lacking.get("tokens", True) else f"{message}, or the signature tokens, which any TF Serving runs"


def first_rows(feed: Batch, count: int) -> Batch:
    """Return the first rows of a batch, without token ids that are padding in all of them."""
    rows = {name: array[:count] for name, array in feed.items()}
    if "input_mask" not in rows:
        return rows
    length = int(rows["input_mask"].sum(-1).max())
    return {name: array[:, :length] for name, array in rows.items()}


def write_serving_files(folder: Path, subfolder: str = "", *, max_batch_size: int = 128) -> None:
    """Write models.config and batching.config into an export folder unless they exist; `subfolder` has the versions."""
    name = model_name(folder)
    models = MODELS_TEXT.format(name=name, base=f"{name}/{subfolder}".rstrip("/"))
    batching = BATCHING_TEXT.replace("MAX_BATCH_SIZE", str(max_batch_size))
    for file, text in ((MODELS_CONFIG, models), (BATCHING_CONFIG, batching)):
        if not (folder / file).exists():
            write_text(folder / file, text)


def model_name(folder: Path) -> str:
    """Return the name of the served model: the folder's, with underscores for characters that REST URLs cannot contain.

    Example:
        model_name(Path("saved_models/my reviews"))  # my_reviews
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", folder.name)


def docker_command(folder: Path, *, parent: str | None = None) -> list[str]:
    """Return the command that serves an export folder with TF Serving's image, on ports 8500 (gRPC) and 8501 (REST).

    `parent` is how the command names the folder above; by default with its absolute path.
    """
    folder = folder.absolute()
    source, target = f"{parent or folder.parent}/{folder.name}", f"/models/{model_name(folder)}"
    mount = ["-v", f"{source}:{target}"]
    if ":" in str(folder):
        # In -v, a colon ends the source. --mount takes a csv row.
        row = io.StringIO()
        fields = ["type=bind", f"source={source}", f"target={target}"]
        csv.writer(row, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields)
        mount = ["--mount", row.getvalue()]
    return [
        *("docker", "run", "--rm", "-p", "8500:8500", "-p", "8501:8501", *mount, "tensorflow/serving"),
        *(f"--model_config_file={target}/{MODELS_CONFIG}", "--enable_batching"),
        f"--batching_parameters_file={target}/{BATCHING_CONFIG}",
    ]


def server_command(
    models: Sequence[str], batching_config: str, *, port: int = 8500, rest_port: int = 8501
) -> list[str]:
    """Return the command that starts `tensorflow_model_server`; `models` are the options that select the models."""
    ports = [f"--port={port}", f"--rest_api_port={rest_port}"]
    return [SERVER, *ports, *models, "--enable_batching", f"--batching_parameters_file={batching_config}"]


def _write_warmup_requests(saved_model: Path, feeds: Mapping[str, Batch], name: str) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from tfhub_ft.exports.serving.requests import grpc_request

    with tf.io.TFRecordWriter(str(saved_model / WARM_UP)) as file:
        for signature, feed in feeds.items():
            available = len(next(iter(feed.values())))
            for count in sorted({min(rows, available) for rows in WARM_UP_ROWS}):
                log = prediction_log_pb2.PredictionLog()  # pyright: ignore[reportAttributeAccessIssue]
                request = grpc_request(saved_model, signature, first_rows(feed, count), model=name)
                log.predict_log.request.CopyFrom(request)
                file.write(log.SerializeToString())
