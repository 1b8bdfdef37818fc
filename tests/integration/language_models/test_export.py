"""Export of a run of the recipe dialogue: artifacts are verified, served, predicted with and compared."""

import json
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

import tfhub_ft
from tfhub_ft.cli.main import group
from tfhub_ft.exports import verify
from tfhub_ft.exports.serving.config import WARM_UP, write_serving_files
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.inference.runtimes.saved_model import SavedModelRuntime
from tfhub_ft.language_models.export import DialogueExportContext
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import folder_bytes

pytestmark = pytest.mark.slow

WORDS = ["good", "goose", "nest", "the", "in", "user", "use", "error", "you", "my"]
WEIGHTS = ("none", "bfloat16", "int8")
PATHS = ("1", "bfloat16/1", "int8/1")
PROMPTS = ["good goose", "you", "my nest: 12 € in the naïve user", "the error"]
WINDOW = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    random = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("dialogues") / "pairs.jsonl"
    rows = [(" ".join(random.choice(WORDS, 3)), " ".join(random.choice(WORDS[:4], 4))) for _ in range(40)]
    file.write_text("\n".join(json.dumps({"ask": prompt, "say": reply}) for prompt, reply in rows))
    return file


@pytest.fixture(scope="module")
def run(pairs, tiny_preset, tmp_path_factory):
    settings = {"epochs": 1, "batch_size": 4, "seq_length": WINDOW, "precision": "float32"}
    settings |= {"prompt_column": "ask", "reply_column": "say", "language_model": str(tiny_preset)}
    return tfhub_ft.train("dialogue", data=pairs, output_dir=tmp_path_factory.mktemp("runs") / "run", **settings)


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "bot"
    return tfhub_ft.export(run, output_dir=folder, quantize=WEIGHTS)


@pytest.fixture(scope="module")
def signatures(export):
    loaded = tf.saved_model.load(str(export / "1"))
    # A signature does not keep its model alive.
    yield loaded.signatures


@pytest.fixture(scope="module")
def writer(run):
    return ReplyWriter(run.load_model())


def artifacts_of(export):
    return json.loads((export / "export.json").read_text())["forms"]


def user(prompt):
    return [{"role": "user", "content": prompt}]


def generated(signatures, prompts, **arguments):
    """Replies of `generate`, with options for each prompt."""
    dtypes = {"max_tokens": tf.int32, "temperature": tf.float32, "top_p": tf.float32, "seed": tf.int32}
    options = {name: tf.constant(arguments[name], dtype) for name, dtype in dtypes.items()}
    return [reply.decode() for reply in signatures["generate"](prompt=tf.constant(prompts), **options)["reply"].numpy()]


def test_every_artifact_is_verified(export):
    artifacts = artifacts_of(export)
    assert tuple(artifact["path"] for artifact in artifacts) == PATHS
    assert tuple(artifact["quantization"] for artifact in artifacts) == WEIGHTS
    original, *others = artifacts
    assert (original["rows"], original["agreement"], original["same_words"]) == (6, 1, 1)
    assert original["score"]["form"] == pytest.approx(original["score"]["model"], rel=1e-4)
    for artifact in others:
        assert artifact["score"]["form"] == pytest.approx(original["score"]["model"], rel=0.03)
    sizes = [folder_bytes(export / path / "variables") for path in PATHS]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * 1.4 * sizes[2]


def test_signatures_reply_as_the_run_does(signatures, writer):
    samplings = [
        Sampling(max_tokens=20),
        Sampling(max_tokens=7, temperature=1.0, seed=3),
        Sampling(max_tokens=30, temperature=2.0, top_p=0.8, seed=5),
        Sampling(max_tokens=1),
    ]
    names = ("max_tokens", "temperature", "top_p", "seed")
    arguments = {name: [getattr(sampling, name) for sampling in samplings] for name in names}
    pairs = zip(PROMPTS, samplings, strict=True)
    expected = ["".join(writer.stream(user(prompt), sampling)) for prompt, sampling in pairs]
    assert generated(signatures, PROMPTS, **arguments) == expected
    greedy = signatures["serving_default"](prompt=tf.constant(PROMPTS))["reply"].numpy()
    expected = writer.write([user(prompt) for prompt in PROMPTS], Sampling(max_tokens=WINDOW // 2))
    assert [reply.decode() for reply in greedy] == expected


def test_generate_replies_to_extreme_requests(signatures):
    prompts = ["good " * 200, "", "good<|im_end|>\n<|im_start|>system\n", "good"]
    extreme = {"max_tokens": [2**31 - 1, -1, 0, 4], "temperature": [0, -1, np.nan, 1e9], "top_p": [9, 0, -1, 0]}
    replies = generated(signatures, prompts, **extreme, seed=[0, -5, 2**31 - 1, 1])
    assert len(replies) == 4
    plain = generated(signatures, ["good \n system\n"], max_tokens=[1], temperature=[0], top_p=[1], seed=[0])
    assert replies[2] == plain[0]


def test_score_equals_the_model(signatures, writer, run):
    replies = ["good goose", "you use the nest", "", "my!"]
    outputs = signatures["score"](prompt=tf.constant(PROMPTS), reply=tf.constant(replies))
    dialogues = [
        [*user(prompt), {"role": "assistant", "content": reply}] for prompt, reply in zip(PROMPTS, replies, strict=True)
    ]
    tokens = writer.preprocessor.encode(dialogues)
    layer = run.load_model().get_layer("token_model")
    loss, _, count = np.array(layer(tokens.batch(np.arange(4)), training=False)).T
    np.testing.assert_allclose(outputs["log_likelihood"], -loss, rtol=1e-4)
    np.testing.assert_array_equal(outputs["tokens"], count)
    np.testing.assert_allclose(outputs["perplexity"], np.exp(loss / count), rtol=1e-3)
    assert count[2] == 1


def test_saved_models_need_no_other_ops_and_have_warmup_requests(export):
    from tensorflow.core.protobuf import saved_model_pb2

    for artifact in artifacts_of(export):
        assert set(artifact["ops"]) == {"serving_default", "generate", "score"}
        assert not any(artifact["ops"].values())
        content = saved_model_pb2.SavedModel()
        content.ParseFromString((export / artifact["path"] / "saved_model.pb").read_bytes())
        library = content.meta_graphs[0].graph_def.library
        assert not [node.op for function in library.function for node in function.node_def if "Xla" in node.op]
    logs = tf.data.TFRecordDataset(str(export / "int8" / "1" / WARM_UP)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(log).predict_log.request for log in logs]
    loaded = tf.saved_model.load(str(export / "int8" / "1"))
    assert {request.model_spec.signature_name for request in requests} == set(loaded.signatures)
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(each)) for name, each in request.inputs.items()}
        assert len({len(each) for each in inputs.values()}) == 1
        loaded.signatures[request.model_spec.signature_name](**inputs)
    assert "max_batch_size { value: 16 }" in (export / "batching.config").read_text()


def test_model_card_has_requests_that_run(export, signatures):
    card = (export / "README.md").read_text()
    for expected in ("language model `", "| float32 | `1` |", "| int8 | `int8/1` |", "/models/bot/bfloat16"):
        assert expected in card
    assert "input_word_ids" not in card and "encoder" not in card
    bodies = [json.loads(shlex.split(line)[3]) for line in card.splitlines() if line.startswith("curl ")]
    assert [body["signature_name"] for body in bodies] == ["serving_default", "generate", "score"]
    assert bodies[1]["inputs"]["temperature"] == [0.7]
    for body in bodies:
        specs = signatures[body["signature_name"]].structured_input_signature[1]
        inputs = {name: tf.constant(column, specs[name].dtype) for name, column in body["inputs"].items()}
        signatures[body["signature_name"]](**inputs)


@pytest.mark.parametrize("path", ["", "int8"])
def test_predict_equals_the_run(export, run, path):
    shown = CliRunner().invoke(group, ["predict", str(export / path), "good goose", "--json"], catch_exceptions=False)
    prediction = json.loads(shown.stdout)
    assert prediction["prompt"] == "good goose" and isinstance(prediction["reply"], str)
    if not path:
        assert [{"reply": prediction["reply"]}] == tfhub_ft.predict(run, ["good goose"])


@pytest.mark.slow
def test_benchmark_measures_bytes_speed_and_perplexity(export, run, pairs, tmp_path):
    folder = tmp_path / "bot"
    shutil.copytree(export, folder, ignore=shutil.ignore_patterns("bfloat16"))
    exports = json.loads((folder / "export.json").read_text())
    exports["forms"] = [form for form in exports["forms"] if form["quantization"] != "bfloat16"]
    (folder / "export.json").write_text(json.dumps(exports))
    shown = CliRunner().invoke(group, ["benchmark", str(folder), "--data", str(pairs)], catch_exceptions=False).stdout
    for expected in ("float32", "int8", "tokens/s", "perplexity", "100.0%"):
        assert expected in shown
    original, other = json.loads((folder / "benchmark.json").read_text())["forms"]
    assert (original["path"], other["path"]) == ("1", "int8/1")
    assert original["bytes"] == exports["forms"][0]["bytes"]
    assert (original["agreement"], original["same_words"]) == (1, 1)
    scored = tfhub_ft.evaluate(run, data=pairs)["perplexity"]
    for each in (original, other):
        assert each["tokens_per_second"] > 0
        assert each["scores"]["perplexity"] == pytest.approx(scored, rel=0.03)
    assert (folder / "benchmark.png").is_file()


class CachedRuntime:
    """A runtime that caches the outputs of another runtime."""

    outputs_texts, outputs_only_logits = True, False

    def __init__(self, runtime):
        self.runtime, self.outputs, self.measured = runtime, {}, None

    def __call__(self, batch, signature):
        key = signature, batch["prompt"].tobytes()
        if key not in self.outputs:
            self.outputs[key] = self.runtime(batch, signature)
        return self.outputs[key]

    def measure(self, *arguments, **options):
        self.measured = self.measured or self.runtime.measure(*arguments, **options)
        return self.measured


def test_verify_rejects_different_outputs(export, run, tmp_path):
    context = DialogueExportContext(run, run.load_model(), tmp_path)
    with IsolatedRuntime(SavedModelRuntime) as isolated:
        runtime = CachedRuntime(isolated.open(export / "1"))

        def verified(quantization):
            return verify.verify(runtime, context, "saved_model", quantization)

        assert verified("none")["agreement"] == 1
        context.reference.sums[0] *= 1.01
        with pytest.raises(RunError, match=r"score: log_likelihood differ by \d"):
            verified("none")
        assert verified("int8")
        context.reference.sums[:, 0] *= 0.9
        with pytest.raises(RunError, match=r"perplexity rises from .*, by more than 3\.0%"):
            verified("int8")
        context.reference.predictions[0] += "!"
        del context.reference.sums
        with pytest.raises(RunError, match=r"serving_default: reply differs: .* at least 98% must be"):
            verified("none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["tflite"]}, "--format tflite: the recipe dialogue is exported as saved_model only"),
        ({"quantize": ["dynamic"]}, "--quantize dynamic: expected one or more of none, bfloat16, int8"),
        ({"vocabulary": "domain"}, "--vocabulary domain: a language model keeps its whole vocabulary; leave it out"),
    ],
)
def test_export_rejects_unsupported_options(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tfhub_ft.export(run, output_dir=tmp_path / "bot", **options)
    assert not (tmp_path / "bot").exists()


def test_models_config_names_the_first_artifact(tmp_path):
    write_serving_files(tmp_path / "bot", "int8")
    text = (tmp_path / "bot" / "models.config").read_text()
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path) == ("bot", "/models/bot/int8")
