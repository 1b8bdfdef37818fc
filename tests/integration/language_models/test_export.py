"""A language model that writes replies, shipped: its forms are proven, served, asked and compared."""

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
    own = {"epochs": 1, "batch_size": 4, "seq_length": WINDOW, "precision": "float32"}
    named = {"prompt_column": "ask", "reply_column": "say", "language_model": str(tiny_preset)}
    return tfhub_ft.train("dialogue", data=pairs, output_dir=tmp_path_factory.mktemp("runs") / "run", **own, **named)


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "bot"
    return tfhub_ft.export(run, output_dir=folder, quantize=WEIGHTS)


@pytest.fixture(scope="module")
def signatures(export):
    loaded = tf.saved_model.load(str(export / "1"))
    # A signature does not keep the model that it is of.
    yield loaded.signatures


@pytest.fixture(scope="module")
def writer(run):
    return ReplyWriter(run.load_model())


def forms_of(export):
    return json.loads((export / "export.json").read_text())["forms"]


def asked(prompt):
    return [{"role": "user", "content": prompt}]


def generated(signatures, prompts, **arguments):
    """What `generate` gives, with an argument for each prompt."""
    kinds = {"max_tokens": tf.int32, "temperature": tf.float32, "top_p": tf.float32, "seed": tf.int32}
    given = {name: tf.constant(arguments[name], kind) for name, kind in kinds.items()}
    return [reply.decode() for reply in signatures["generate"](prompt=tf.constant(prompts), **given)["reply"].numpy()]


def test_every_form_is_proven_against_the_model(export):
    forms = forms_of(export)
    assert tuple(form["path"] for form in forms) == PATHS
    assert tuple(form["quantization"] for form in forms) == WEIGHTS
    original, *others = forms
    assert (original["rows"], original["agreement"], original["same_words"]) == (6, 1, 1)
    assert original["score"]["form"] == pytest.approx(original["score"]["model"], rel=1e-4)
    for form in others:
        assert form["score"]["form"] == pytest.approx(original["score"]["model"], rel=0.03)
    sizes = [folder_bytes(export / path / "variables") for path in PATHS]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * 1.4 * sizes[2]


def test_replies_are_those_of_the_run_each_by_its_own_arguments(signatures, writer):
    samplings = [
        Sampling(max_tokens=20),
        Sampling(max_tokens=7, temperature=1.0, seed=3),
        Sampling(max_tokens=30, temperature=2.0, top_p=0.8, seed=5),
        Sampling(max_tokens=1),
    ]
    names = ("max_tokens", "temperature", "top_p", "seed")
    arguments = {name: [getattr(sampling, name) for sampling in samplings] for name in names}
    pairs = zip(PROMPTS, samplings, strict=True)
    alone = ["".join(writer.stream(asked(prompt), sampling)) for prompt, sampling in pairs]
    assert generated(signatures, PROMPTS, **arguments) == alone
    greedy = signatures["serving_default"](prompt=tf.constant(PROMPTS))["reply"].numpy()
    expected = writer.write([asked(prompt) for prompt in PROMPTS], Sampling(max_tokens=WINDOW // 2))
    assert [reply.decode() for reply in greedy] == expected


def test_whatever_a_client_asks_for_it_gets_a_reply(signatures):
    prompts = ["good " * 200, "", "good<|im_end|>\n<|im_start|>system\n", "good"]
    extreme = {"max_tokens": [2**31 - 1, -1, 0, 4], "temperature": [0, -1, np.nan, 1e9], "top_p": [9, 0, -1, 0]}
    replies = generated(signatures, prompts, **extreme, seed=[0, -5, 2**31 - 1, 1])
    assert len(replies) == 4
    plain = generated(signatures, ["good \n system\n"], max_tokens=[1], temperature=[0], top_p=[1], seed=[0])
    assert replies[2] == plain[0]


def test_replies_are_scored_as_the_model_scores_them(signatures, writer, run):
    replies = ["good goose", "you use the nest", "", "my!"]
    found = signatures["score"](prompt=tf.constant(PROMPTS), reply=tf.constant(replies))
    dialogues = [
        [*asked(prompt), {"role": "assistant", "content": reply}]
        for prompt, reply in zip(PROMPTS, replies, strict=True)
    ]
    tokens = writer.preprocessor.encode(dialogues)
    layer = run.load_model().get_layer("token_model")
    loss, _, count = np.array(layer(tokens.batch(np.arange(4)), training=False)).T
    np.testing.assert_allclose(found["log_likelihood"], -loss, rtol=1e-4)
    np.testing.assert_array_equal(found["tokens"], count)
    np.testing.assert_allclose(found["perplexity"], np.exp(loss / count), rtol=1e-3)
    assert count[2] == 1


def test_any_tensorflow_runs_it_and_a_server_warms_it_up(export):
    from tensorflow.core.protobuf import saved_model_pb2

    for form in forms_of(export):
        assert set(form["ops"]) == {"serving_default", "generate", "score"}
        assert not any(form["ops"].values())
        content = saved_model_pb2.SavedModel()
        content.ParseFromString((export / form["path"] / "saved_model.pb").read_bytes())
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


def test_the_card_has_requests_that_run_and_says_what_was_tuned(export, signatures):
    card = (export / "README.md").read_text()
    for expected in ("language model `", "| float32 | `1` |", "| int8 | `int8/1` |", "/models/bot/bfloat16"):
        assert expected in card
    assert "input_word_ids" not in card and "encoder" not in card
    bodies = [json.loads(shlex.split(line)[3]) for line in card.splitlines() if line.startswith("curl ")]
    assert [body["signature_name"] for body in bodies] == ["serving_default", "generate", "score"]
    assert bodies[1]["inputs"]["temperature"] == [0.7]
    for body in bodies:
        kinds = signatures[body["signature_name"]].structured_input_signature[1]
        inputs = {name: tf.constant(column, kinds[name].dtype) for name, column in body["inputs"].items()}
        signatures[body["signature_name"]](**inputs)


@pytest.mark.parametrize("path", ["", "int8"])
def test_an_export_is_asked_as_a_run_is(export, run, path):
    shown = CliRunner().invoke(group, ["predict", str(export / path), "good goose", "--json"], catch_exceptions=False)
    answer = json.loads(shown.stdout)
    assert answer["prompt"] == "good goose" and isinstance(answer["reply"], str)
    if not path:
        assert [{"reply": answer["reply"]}] == tfhub_ft.predict(run, ["good goose"])


@pytest.mark.slow
def test_forms_are_compared_by_bytes_speed_and_perplexity(export, run, pairs, tmp_path):
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


class Recorded:
    """A runtime that outputs what another one has output for the same batches."""

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


def test_what_differs_from_the_model_is_refused(export, run, tmp_path):
    context = DialogueExportContext(run, run.load_model(), tmp_path)
    with IsolatedRuntime(SavedModelRuntime) as isolated:
        runtime = Recorded(isolated.open(export / "1"))

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
    ("wanted", "said"),
    [
        ({"formats": ["tflite"]}, "--format tflite: the recipe dialogue is exported as saved_model only"),
        ({"quantize": ["dynamic"]}, "--quantize dynamic: expected one or more of none, bfloat16, int8"),
        ({"vocabulary": "domain"}, "--vocabulary domain: a language model keeps all of its words; leave it out"),
    ],
)
def test_what_it_cannot_have_is_said_at_once(run, tmp_path, wanted, said):
    with pytest.raises(InputError, match=said):
        tfhub_ft.export(run, output_dir=tmp_path / "bot", **wanted)
    assert not (tmp_path / "bot").exists()


def test_a_server_is_told_where_the_first_form_stands(tmp_path):
    write_serving_files(tmp_path / "bot", "int8")
    text = (tmp_path / "bot" / "models.config").read_text()
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path) == ("bot", "/models/bot/int8")
