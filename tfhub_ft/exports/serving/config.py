"""What TF Serving finds beside a SavedModel: warm-up requests and its configuration; and what it cannot run."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.console import warn
from tfhub_ft.utils.files import write_text

if TYPE_CHECKING:
    import numpy as np

WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_ROWS = (1, 8, 32)
SERVER = "tensorflow_model_server"
MODELS_CONFIG, BATCHING_CONFIG = "models.config", "batching.config"

# TF Serving, up to 2.19 at least, links TF Text 2.12.1 (https://github.com/tensorflow/serving/pull/4057); its main
# branch has moved to 2.20.0 since. These are the operations that TF Text 2.12.1 has, read from its wheel. What a newer
# one added is missing: TFText>RoundRobinTrim, TFText>RoundRobinGenerateMasks, TFText>Utf8Binarize.
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
# For TF Serving's --model_config_file, with this folder mounted at /models/{name}; `tfhub-ft serve` puts in where it
# really stands. Written once: change it as you like. The newest version is served.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{base}"
    model_platform: "tensorflow"
  }}
}}
"""

BATCHING_TEXT = """\
# For TF Serving's --batching_parameters_file, chosen for CPUs. Written once: change it as you like.
# A request with more rows than this is refused.
max_batch_size { value: MOST_ROWS }
# Nobody waits for others: a batch forms of what came in while all threads were busy.
batch_timeout_micros { value: 0 }
# How much may wait before requests are refused.
max_enqueued_batches { value: 64 }
# num_batch_threads is left out: one for each core of the server's machine.
# TF Serving would pad shorter requests with the first value of each tensor: with a mask of 1, so that padding would
# be read as text. Requests of token ids that differ in length are refused instead: send them at one length.
pad_variable_length_inputs: false
"""


def prepare_for_serving(
    saved_model: Path, feeds: "Mapping[str, Mapping[str, np.ndarray]]", name: str
) -> dict[str, dict[str, list[str]]]:
    """Find out which signatures a stock TF Serving can run, and write warm-up requests for these.

    A server refuses the whole model where a warm-up request fails: a signature that it cannot run gets none.

    Args:
        saved_model: the SavedModel's folder.
        feeds: some rows for each signature, arrays by input.
        name: the name under which the model will be served.

    Returns:
        {"ops": {signature: its operations that TensorFlow itself does not have}, "lacking_in_tf_serving": {signature:
        those that a stock TF Serving does not have either}}.
    """
    from tfhub_ft.exports.serving.signatures import custom_operations

    needed = custom_operations(saved_model)
    lacking = {signature: sorted(set(used) - STOCK_OPERATIONS) for signature, used in needed.items()}
    _write_warm_up(saved_model, {each: feed for each, feed in feeds.items() if not lacking[each]}, name)
    if any(lacking.values()):
        warn(lacking_message(lacking))
    return {"ops": needed, "lacking_in_tf_serving": lacking}


def lacking_message(lacking: Mapping[str, list[str]]) -> str:
    """What a user must know where a stock TF Serving cannot run every signature.

    Args:
        lacking: the operations that it does not have, for each signature.
    """
    operations = ", ".join(sorted(set().union(*lacking.values())))
    who = " and ".join(signature for signature, missing in lacking.items() if missing)
    message = (
        f"a stock TF Serving lacks {operations} for {who}; one that is built with TF Text {_text_version()} has it"
    )
    avoided = not lacking.get("tokens", True)
    return f"{message}, and the signature tokens, which avoids it, runs on any" if avoided else message


def first_rows(feed: "Mapping[str, np.ndarray]", count: int) -> "dict[str, np.ndarray]":
    """The first rows of a signature's inputs, of token ids without padding that none of these rows needs."""
    rows = {name: array[:count] for name, array in feed.items()}
    if "input_mask" not in rows:
        return rows
    length = int(rows["input_mask"].sum(-1).max())
    return {name: array[:, :length] for name, array in rows.items()}


def write_serving_files(folder: Path, inside: str = "", *, most_rows: int = 128) -> None:
    """Write models.config and batching.config into an export folder, where they are not there yet.

    Args:
        folder: the export folder.
        inside: the folder in it that holds the versions to be served, where it is another.
        most_rows: of a batch, and of a request.
    """
    name = model_name(folder)
    models = MODELS_TEXT.format(name=name, base=f"{name}/{inside}".rstrip("/"))
    batching = BATCHING_TEXT.replace("MOST_ROWS", str(most_rows))
    for file, text in ((MODELS_CONFIG, models), (BATCHING_CONFIG, batching)):
        if not (folder / file).exists():
            write_text(folder / file, text)


def model_name(folder: Path) -> str:
    """Return the name under which TF Serving serves an export folder: the folder's, as far as a URL can hold it.

    TF Serving's REST interface does not decode percent-encoded names, so other characters become underscores.

    Example:
        model_name(Path("saved_models/my reviews"))  # my_reviews
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", folder.name)


def docker_command(folder: Path, *, parent: str | None = None) -> list[str]:
    """Return the words that serve an export folder with TF Serving's image, on the ports 8500 (gRPC) and 8501 (REST).

    Args:
        folder: the folder.
        parent: how the words name the folder that holds it; by its absolute path by default.
    """
    folder = folder.absolute()
    source, target = f"{parent or folder.parent}/{folder.name}", f"/models/{model_name(folder)}"
    mount = ["-v", f"{source}:{target}"]
    if ":" in str(folder):
        # A colon would end the source; --mount takes the fields of a csv row.
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
    """Return the words that start `tensorflow_model_server`.

    Args:
        models: the options that say which models are served.
        batching_config: the file of batching parameters.
        port: for gRPC.
        rest_port: for REST.
    """
    ports = [f"--port={port}", f"--rest_api_port={rest_port}"]
    return [SERVER, *ports, *models, "--enable_batching", f"--batching_parameters_file={batching_config}"]


def _write_warm_up(saved_model: Path, feeds: "Mapping[str, Mapping[str, np.ndarray]]", name: str) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from tfhub_ft.exports.serving.requests import grpc_request

    with tf.io.TFRecordWriter(str(saved_model / WARM_UP)) as file:
        for signature, feed in feeds.items():
            there = len(next(iter(feed.values())))
            for count in sorted({min(rows, there) for rows in WARM_UP_ROWS}):
                log = prediction_log_pb2.PredictionLog()
                request = grpc_request(saved_model, signature, first_rows(feed, count), model=name)
                log.predict_log.request.CopyFrom(request)
                file.write(log.SerializeToString())


def _text_version() -> str:
    from importlib.metadata import version

    return version("tensorflow-text").rpartition(".")[0]
