"""Checks of graphs before they are loaded."""

import shutil
import subprocess
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

import tfhub_ft
from tfhub_ft.encoders import HubEncoder, HubPreprocessor
from tfhub_ft.encoders.hub_api_check import verify_encoder
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError, UntrustedCode
from tfhub_ft.utils.processes import child_environment, python_command
from tfhub_ft.utils.saved_graph import check_graph, load_graph

CONTENT = "written by the graph"
OPERATIONS = {
    "WriteFile": lambda path: tf.io.write_file(path, CONTENT),
    "PrintV2": lambda path: tf.print(CONTENT, output_stream=f"file://{path}"),
    "SaveV2": lambda path: tf.raw_ops.SaveV2(
        prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    ),
    "Save": lambda path: tf.raw_ops.Save(filename=path, tensor_names=["a"], data=[tf.constant(1.0)]),
    "RestoreV2": lambda path: tf.raw_ops.RestoreV2(
        prefix=path, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    ),
    "MergeV2Checkpoints": lambda path: tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[path], destination_prefix=path
    ),
    "WholeFileReaderV2": lambda path: tf.raw_ops.ReaderReadV2(
        reader_handle=tf.raw_ops.WholeFileReaderV2(), queue_handle=tf.raw_ops.FIFOQueueV2(component_types=[tf.string])
    ),
    "ReadFile": lambda path: tf.io.read_file(path),
    "MatchingFiles": lambda path: tf.io.matching_files(path),
    "ImmutableConst": lambda path: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[1], memory_region_name=path),
    "TextLineDataset": lambda path: tf.raw_ops.TextLineDataset(filenames=path, compression_type="", buffer_size=0),
    "EagerPyFunc": lambda path: tf.py_function(lambda: 1.0, [], tf.float32),
}


def save(module, folder):
    """Save a module as a SavedModel and return its folder."""
    tf.saved_model.save(module, str(folder))
    return folder


def module_with_operation(operation, path):
    """Return a module whose function calls a function with an operation on a file."""
    module = tf.Module()

    @tf.function(input_signature=[])
    def hidden():
        OPERATIONS[operation](str(path))
        return tf.constant(1)

    module.run = tf.function(lambda: tf.cond(tf.constant(True), hidden, lambda: tf.constant(0)), input_signature=[])
    return module


class Writing(tf.saved_model.experimental.TrackableResource):
    """A resource that writes a file when it is created or initialized, while the model is loaded."""

    def __init__(self, path, when):
        super().__init__()
        self.path, self.when = str(path), when

    def _create_resource(self):
        if self.when == "create":
            tf.io.write_file(self.path, CONTENT)
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        if self.when == "initialize":
            tf.io.write_file(self.path, CONTENT)


class FromFile(tf.saved_model.experimental.TrackableResource):
    """A table that is read from a file when the model is loaded."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def _create_resource(self):
        return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=self.resource_handle, filename=self.path, key_index=-2, value_index=-1
        )


def module_with_resource(resource):
    module = tf.Module()
    module.resource = resource

    @tf.function(input_signature=[])
    def size():
        return tf.raw_ops.LookupTableSizeV2(table_handle=resource.resource_handle)

    module.size = size
    return module


def edit_graph(folder, change):
    """Change the proto of a SavedModel."""
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(content.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(content.SerializeToString())
    return folder


def with_table(tmp_path):
    """Return a SavedModel with a table that is read from its asset."""
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(tmp_path / "vocab.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer, -1)
    module.weight = tf.Variable(1.0)
    module.find = tf.function(lambda word: module.table.lookup(word), input_signature=[tf.TensorSpec((), tf.string)])
    folder = save(module, tmp_path / "model")
    (tmp_path / "vocab.txt").unlink()
    return folder


@pytest.mark.parametrize("operation", OPERATIONS)
def test_load_graph_refuses_operations_on_files(operation, tmp_path):
    folder = save(module_with_operation(operation, tmp_path / "file"), tmp_path / "model")
    with pytest.raises(
        UntrustedCode, match=rf"^{folder}: has the operation {operation} in the function __?\S+.*--trust"
    ):
        load_graph(folder)
    assert not list(tmp_path.glob("file*"))


@pytest.mark.parametrize("when", ["create", "initialize"])
def test_load_graph_checks_functions_of_resources(when, tmp_path, monkeypatch):
    path = tmp_path / "file"
    folder = save(module_with_resource(Writing(path, when)), tmp_path / "model")
    path.unlink(missing_ok=True)
    with pytest.raises(UntrustedCode, match=r"WriteFile in the function __inference_"):
        load_graph(folder)
    assert not path.exists()
    monkeypatch.setenv("TFHUB_FT_TRUST", "1")
    load_graph(folder).size()
    assert path.exists()


@pytest.mark.parametrize("kind", ["constant", "captured"])
def test_load_graph_refuses_tables_of_other_files(kind, tmp_path):
    (tmp_path / "secret").write_text("secret\n")
    path = str(tmp_path / "secret") if kind == "constant" else tf.constant(str(tmp_path / "secret"))
    folder = save(module_with_resource(FromFile(path)), tmp_path / "model")
    with pytest.raises(UntrustedCode, match="InitializeTableFromTextFileV2 in the function .*no.* asset of the model"):
        load_graph(folder)


def test_load_graph_allows_assets_and_savers(tmp_path):
    folder = with_table(tmp_path)
    assert load_graph(folder).find(tf.constant("b")).numpy() == 1
    assert load_graph(shutil.move(folder, tmp_path / "moved")).find(tf.constant("b")).numpy() == 1


@pytest.mark.parametrize("name", ["../../secret", "{}/secret"])
def test_load_graph_refuses_assets_outside_folder(name, tmp_path):
    name = name.format(tmp_path)
    (tmp_path / "secret").write_text("secret\n")

    def change(graph):
        graph.asset_file_def[0].filename = name

    folder = edit_graph(with_table(tmp_path), change)
    with pytest.raises(UntrustedCode, match=f"reads the file '{name}', which is not in its folder"):
        load_graph(folder)


def test_load_graph_refuses_linked_assets(tmp_path):
    folder = with_table(tmp_path)
    (tmp_path / "secret").write_text("secret\n")
    (folder / "assets" / "vocab.txt").unlink()
    (folder / "assets" / "vocab.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(UntrustedCode, match="vocab.txt', which is not in its folder"):
        load_graph(folder)


def saver_from_constant(graph):
    """Restore from a file of the graph's choice."""
    next(node for node in graph.graph_def.node if node.name == "saver_filename").CopyFrom(
        text_format.Parse(
            'name: "saver_filename" op: "Const" attr { key: "dtype" value { type: DT_STRING } } attr { key: "value"'
            ' value { tensor { dtype: DT_STRING string_val: "/secret" tensor_shape { } } } }',
            type(graph.graph_def.node[0])(),
        )
    )
    graph.saver_def.filename_tensor_name = "other:0"


def saver_in_signature(graph):
    """Let a client choose the file to write."""
    saver = next(iter(graph.signature_def.values()))
    saver.inputs["path"].name = graph.saver_def.filename_tensor_name


def saver_as_function(graph):
    """Let an object call the saver's function."""
    name = next(f.signature.name for f in graph.graph_def.library.function if "traced_save" in f.signature.name)
    graph.object_graph_def.concrete_functions[name].SetInParent()


def joined_to_asset(graph):
    """Join the asset's name and another one."""
    function, node = initialization(graph)
    function.node_def.add(name="join", op="StringJoin", input=[node.input[1]]).attr["N"].i = 1
    node.input[1] = "join:output:0"


def shared_variable(graph):
    """Assign to the variable of the asset's name in a function."""
    variable = next(node for node in graph.graph_def.node if node.op == "VarHandleOp" and node.attr["dtype"].type == 7)
    function, _ = initialization(graph)
    function.node_def.add(name="other", op="VarHandleOp").attr["shared_name"].s = variable.attr["shared_name"].s


def initialization(graph):
    """Return the function and the node that initialize the table."""
    return next(
        (function, node)
        for function in graph.graph_def.library.function
        for node in function.node_def
        if node.op == "InitializeTableFromTextFileV2"
    )


def asset_from_signature(graph):
    """Read a file named by a constant that pretends to be the node of an asset."""
    call = next(node for node in graph.graph_def.node if "initializer" in node.attr["f"].func.name)
    name = graph.asset_file_def[0].tensor_info.name.split(":")[0]
    asset = next(node for node in graph.graph_def.node if node.name == name)
    value = 'dtype: DT_STRING string_val: "/secret" tensor_shape { }'
    asset.op = "Const"
    text_format.Parse(value, asset.attr["value"].tensor)
    graph.signature_def["serving_default"].outputs["x"].name = f"{call.name}:0"


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        (joined_to_asset, "InitializeTableFromTextFileV2"),
        (shared_variable, "InitializeTableFromTextFileV2"),
        (saver_from_constant, "RestoreV2|SaveV2|MergeV2Checkpoints"),
        (saver_in_signature, "RestoreV2|SaveV2|MergeV2Checkpoints"),
        (saver_as_function, "SaveV2|MergeV2Checkpoints"),
        (asset_from_signature, "InitializeTableFromTextFileV2"),
    ],
)
def test_load_graph_refuses_other_savers_and_assets(change, operation, tmp_path):
    folder = with_table(tmp_path)
    check_graph(folder)
    with pytest.raises(UntrustedCode, match=rf"has the operation ({operation}) in the function __inference_"):
        load_graph(edit_graph(folder, change))


def branch_of_operation(graph):
    """Use the name of an operation as that of a function; TensorFlow runs the operation."""
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.op in ("If", "StatelessIf"):
                node.attr["then_branch"].func.name = "WriteFile"


def function_named_as_operation(graph):
    """Define a function with the name of an operation; TensorFlow runs the operation."""
    function = graph.graph_def.library.function.add()
    function.CopyFrom(graph.graph_def.library.function[0])
    function.signature.name = "WriteFile"
    graph.graph_def.node.add(name="call", op="WriteFile")


def function_twice(graph):
    graph.graph_def.library.function.add().CopyFrom(graph.graph_def.library.function[0])


def operation_without_inputs(graph):
    graph.graph_def.node.add(name="read", op="ReadFile")


def long_chain(graph):
    for number in range(2000):
        graph.graph_def.node.add(name=f"name_{number + 1}", op="Identity", input=[f"name_{number}"])
    graph.graph_def.node.add(name="read", op="ReadFile", input=["name_2000"])


def constant_resource(graph):
    node = next(n for f in graph.graph_def.library.function for n in f.node_def if n.op == "Const")
    node.attr["value"].tensor.dtype = 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (branch_of_operation, "the operation (Stateless)?If in the function"),
        (function_named_as_operation, "the operation WriteFile in its graph"),
        (function_twice, "has the function .* twice"),
        (operation_without_inputs, "operations without their inputs"),
        (long_chain, "a chain of operations that is too long"),
        (constant_resource, "the operation Const in the function .* that contains a resource"),
    ],
)
def test_load_graph_refuses_hidden_operations(change, message, tmp_path):
    module = tf.Module()
    module.run = tf.function(
        lambda x: tf.cond(x > 0, lambda: tf.constant(1), lambda: tf.constant(0)),
        input_signature=[tf.TensorSpec((), tf.float32)],
    )
    folder = save(module, tmp_path / "model")
    check_graph(folder)
    with pytest.raises(UntrustedCode, match=message):
        load_graph(edit_graph(folder, change))


@pytest.mark.parametrize("keeps_pb", [True, False])
def test_load_graph_refuses_text_format(keeps_pb, tmp_path, monkeypatch):
    folder, path = tmp_path / "model", tmp_path / "file"
    save(module_with_resource(Writing(path, "initialize")), folder)
    path.unlink(missing_ok=True)
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(content))
    if not keeps_pb:
        (folder / "saved_model.pb").unlink()
    with pytest.raises(UntrustedCode, match=r"has its graph in saved_model\.pbtxt"):
        load_graph(folder)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"no protocol buffer"])
def test_load_graph_rejects_damaged_file(content, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(InputError, match=r"saved_model.pb cannot be read"):
        load_graph(tmp_path)


def add_write(folder, path):
    """Add a WriteFile operation to every function of a SavedModel."""

    def change(graph):
        for function in graph.graph_def.library.function:
            for name, content in (("hostile_name", str(path)), ("hostile_content", CONTENT)):
                node = function.node_def.add(name=name, op="Const")
                node.attr["dtype"].type = 7
                node.attr["value"].tensor.dtype = 7
                node.attr["value"].tensor.tensor_shape.SetInParent()
                node.attr["value"].tensor.string_val.append(content.encode())
            inputs = ["hostile_name:output:0", "hostile_content:output:0"]
            function.node_def.add(name="hostile", op="WriteFile", input=inputs)
            function.control_ret["hostile"] = "hostile"
            function.signature.control_output.append("hostile")
            function.signature.is_stateful = True
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = "StatefulPartitionedCall" if node.op == "PartitionedCall" else node.op

    return edit_graph(folder, change)


@pytest.fixture
def hostile_run(tiny_run, tmp_path):
    """A run whose preprocessor writes a file, and that file."""
    run, path, unpacked = tmp_path / "run", tmp_path / "file", tmp_path / "unpacked"
    shutil.copytree(tiny_run, run)
    shutil.unpack_archive(run / "model.keras", unpacked, "zip")
    graphs = list(unpacked.rglob("saved_model.pb"))
    assert graphs
    for graph in graphs:
        add_write(graph.parent, path)
    shutil.make_archive(str(tmp_path / "model"), "zip", unpacked)
    shutil.move(tmp_path / "model.zip", run / "model.keras")
    return run, path


def test_run_checks_preprocessor_before_it_loads(hostile_run, tmp_path, reviews_csv, monkeypatch):
    run, path = hostile_run
    message = rf"^{run}/model.keras: \S*preprocessor\S*: has the operation WriteFile in the function "
    for use in (
        lambda: Run(run).load_model(),
        lambda: tfhub_ft.predict(run, ["good film"]),
        lambda: tfhub_ft.evaluate(run, data=reviews_csv),
        lambda: tfhub_ft.export(run, output_dir=tmp_path / "export"),
        lambda: tfhub_ft.distill(run, student="layers:1", output_dir=tmp_path / "student"),
    ):
        with pytest.raises(UntrustedCode, match=message):
            use()
    with pytest.raises(ValueError, match="the layer preprocessor: has the operation WriteFile"):
        keras.models.load_model(run / "model.keras")
    assert not path.exists()
    assert not (tmp_path / "export").exists()
    monkeypatch.setenv("TFHUB_FT_TRUST", "1")
    tfhub_ft.predict(run, ["good film"])
    assert path.exists()


def test_encoders_are_checked_before_they_load(tiny_pair, tmp_path):
    pair, path = shutil.copytree(tiny_pair, tmp_path / "pair"), tmp_path / "file"
    for part in ("encoder", "preprocessor"):
        add_write(pair / part, path)
    for use in (
        lambda: HubEncoder(str(pair)),
        lambda: HubPreprocessor(str(pair)),
        lambda: verify_encoder(pair),
        lambda: tfhub_ft.train("sentiment", encoder=str(pair), output_dir=tmp_path / "run"),
    ):
        with pytest.raises(UntrustedCode, match=rf"^{pair}/\w+: has the operation WriteFile in the function "):
            use()
    assert not path.exists()


def test_exports_are_checked_before_they_load(tiny_export, tmp_path):
    from tfhub_ft.exports.serving.server import serve
    from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
    from tfhub_ft.inference.runtimes.saved_model import SavedModelRuntime

    export, path = shutil.copytree(tiny_export, tmp_path / "export"), tmp_path / "file"
    # Without export.json, the digests are not compared.
    (export / "export.json").unlink()
    add_write(export / "1", path)
    for use in (
        lambda: tfhub_ft.predict(open_predictor(export), ["good film"]),
        lambda: IsolatedRuntime(SavedModelRuntime).open(export / "1"),
        lambda: serve(export),
    ):
        with pytest.raises(UntrustedCode, match=rf"^{export}/1: has the operation WriteFile in the function "):
            use()
    assert not path.exists()


def test_check_graph_allows_default_encoder():
    from tfhub_ft.encoders.resolve import cached, resolve

    if not cached("minilm-l6"):
        pytest.skip("minilm-l6 is not on this machine")
    pair = resolve("minilm-l6")
    check_graph(Path(pair.encoder))
    check_graph(Path(pair.preprocessor))


SENTENCEPIECE = """
import io, sys
from pathlib import Path
import sentencepiece
from official.nlp.tools import export_tfhub_lib

folder, model = Path(sys.argv[1]), io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a good film", "the bad food was late"] * 9), model_writer=model, vocab_size=22,
    unk_id=1, pad_id=0, bos_id=-1, eos_id=-1, user_defined_symbols=["[CLS]", "[SEP]", "[MASK]"],
)
(folder / "spm.model").write_bytes(model.getvalue())
export_tfhub_lib.export_preprocessing(
    str(folder / "model"), sp_model_file=str(folder / "spm.model"), do_lower_case=True, default_seq_length=32,
    tokenize_with_offsets=False,
)
"""


@pytest.mark.slow
def test_load_graph_allows_albert_preprocessor(tmp_path):
    pytest.importorskip("official", reason="needs tf-models-official, the extra [models]")
    environment = child_environment(TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="-1")
    subprocess.run(python_command(SENTENCEPIECE, str(tmp_path)), env=environment, check=True, capture_output=True)
    assert load_graph(tmp_path / "model").tokenize(tf.constant(["a good film"])).shape[0] == 1
