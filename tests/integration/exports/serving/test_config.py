import json

import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

import tfhub_ft
from tfhub_ft.exports.saved_model import write_saved_model
from tfhub_ft.exports.serving import config
from tfhub_ft.exports.serving.config import WARM_UP, prepare_for_serving, write_serving_files
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run

LACKED = "WordpieceTokenizeWithOffsets"
TEXTS = [f"a good film number {number} in the city" for number in range(10)]
MODELS = {
    "similarity": ({"mode": "bi-encoder"}, ["1", "5"]),
    "ner": ({"num_classes": 3}, ["O", "B-PER", "I-PER"]),
    "qa": ({}, []),
}


@pytest.fixture(scope="module", params=MODELS)
def untrained(request, tiny_pair, tmp_path_factory):
    """A SavedModel of an untrained model, and rows for its signatures."""
    recipe, (arguments, labels) = load_recipe(request.param), MODELS[request.param]
    model = recipe.build_model(encoder=str(tiny_pair), seq_length=32, **arguments)
    folder = tmp_path_factory.mktemp(request.param) / "1"
    write_saved_model(model, recipe.task, labels, {}, folder)
    texts = {name: tf.constant(TEXTS).numpy() for name in recipe.task.fields}
    columns = [tf.constant(TEXTS)] * len(texts)
    tokens = model.get_layer("preprocessor")(columns if len(columns) > 1 else columns[0])
    feeds = {"serving_default": texts, "tokens": {name: ids.numpy() for name, ids in tokens.items()}}
    return folder, feeds | ({"embed": {"text": tf.constant(TEXTS).numpy()}} if request.param == "similarity" else {})


def records(saved_model):
    logs = tf.data.TFRecordDataset(str(saved_model / WARM_UP)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(log).predict_log.request for log in logs]


def check_requests_run(requests, saved_model):
    loaded = tf.saved_model.load(str(saved_model))
    for request in requests:
        signature = loaded.signatures[request.model_spec.signature_name]
        outputs = signature(**{name: tf.constant(tf.make_ndarray(each)) for name, each in request.inputs.items()})
        assert all(len(output) > 0 for output in outputs.values())


@pytest.fixture
def older_server(monkeypatch):
    """A stock TF Serving that lacks one of the operations of the tokenizer."""
    monkeypatch.setattr(config, "STOCK_OPERATIONS", config.STOCK_OPERATIONS - {LACKED})


@pytest.mark.sample
def test_prepare_for_serving_warms_up_every_signature(tiny_export):
    requests = records(tiny_export / "1")
    assert [request.model_spec.signature_name for request in requests] == ["serving_default"] * 3 + ["tokens"] * 3
    assert [request.inputs["input_mask"].tensor_shape.dim[0].size for request in requests[3:]] == [1, 8, 24]
    assert {request.model_spec.name for request in requests} == {"tiny"}
    check_requests_run(requests, tiny_export / "1")
    form = json.loads((tiny_export / "export.json").read_text())["forms"][0]
    assert form["lacking_in_tf_serving"] == {"serving_default": [], "tokens": []}
    assert LACKED in form["ops"]["serving_default"]
    assert form["ops"]["tokens"] == []


def test_export_contains_row_texts_only_on_request(tiny_run, tiny_export, tmp_path):
    with_rows = tfhub_ft.export(tiny_run, output_dir=tmp_path / "with_rows", warmup_rows=True)
    texts = [row[0].encode() for row in Run(tiny_run).sample]

    def holding(folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.name for path in files if any(text in path.read_bytes() for text in texts)}

    assert holding(tiny_export) == set()
    assert holding(with_rows) == {"tf_serving_warmup_requests"}
    placeholders, real = (
        [len(r.inputs["text"].string_val[0]) for r in records(f / "1")[:3]] for f in (tiny_export, with_rows)
    )
    assert all(abs(one - other) <= 1 for one, other in zip(placeholders, real, strict=True))


def test_prepare_for_serving_supports_all_tasks(untrained, capsys):
    saved_model, feeds = untrained
    operations = prepare_for_serving(saved_model, feeds, "mine")
    assert not any(operations["lacking_in_tf_serving"].values())
    assert "Warning" not in capsys.readouterr().err
    requests = records(saved_model)
    assert {request.model_spec.signature_name for request in requests} == set(feeds)
    check_requests_run(requests, saved_model)


def test_prepare_for_serving_warns_of_missing_operations(untrained, older_server, capsys):
    saved_model, feeds = untrained
    operations = prepare_for_serving(saved_model, feeds, "mine")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Warning: a stock TF Serving lacks {LACKED} for ")
    assert line.endswith("or the signature tokens, which any TF Serving runs")
    assert operations["lacking_in_tf_serving"] == {name: [] if name == "tokens" else [LACKED] for name in feeds}
    assert {request.model_spec.signature_name for request in records(saved_model)} == {"tokens"}


def test_warmup_requests_have_no_unneeded_padding(tiny_export):
    one, some, _ = (tf.make_ndarray(request.inputs["input_mask"]) for request in records(tiny_export / "1")[3:])
    assert one.all()
    assert some.any(0).all()


def test_models_config_has_the_path_in_docker(tiny_export):
    text = (tiny_export / "models.config").read_text()
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("tiny", "/models/tiny", "tensorflow")


def test_batching_config_has_the_fields_of_tf_serving(tiny_export):
    parameters = text_format.Parse((tiny_export / "batching.config").read_text(), batching_parameters())
    assert parameters.max_batch_size.value >= 32
    assert parameters.batch_timeout_micros.value >= 0
    assert parameters.max_enqueued_batches.value > 0
    # TF Serving would pad the mask with its first value, 1.
    assert not parameters.pad_variable_length_inputs


def batching_parameters():
    """Return an empty BatchingParameters of session_bundle_config.proto, which is in no package."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, start=1):
        message.field.add(name=name, number=number, type=11, label=1, type_name=".google.protobuf.Int64Value")
    message.field.add(name="allowed_batch_sizes", number=6, type=3, label=3)
    message.field.add(name="pad_variable_length_inputs", number=7, type=8, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))()


def test_write_serving_files_keeps_existing_files(tmp_path):
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 }")
    write_serving_files(tmp_path)
    assert (tmp_path / "batching.config").read_text() == "max_batch_size { value: 8 }"
    assert f'name: "{tmp_path.name}"' in (tmp_path / "models.config").read_text()
