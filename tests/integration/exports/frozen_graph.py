"""A format that the package lacks, from docs/design/exports.md: a frozen TensorFlow graph."""

from functools import cached_property

from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.exports.formats import Format, Tolerance
from tfhub_ft.exports.tflite import token_function
from tfhub_ft.inference.runtimes.base import Runtime
from tfhub_ft.utils.keras_compat import freeze_variables


def convert_to_frozen_graph(context, quantization, file):
    frozen = freeze_variables(token_function(context.model, context.task).get_concrete_function())
    file.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return {}


class FrozenGraphRuntime(Runtime):
    packages = ("tensorflow",)
    outputs_texts, outputs_only_logits = False, True

    @cached_property
    def function(self):
        import tensorflow as tf

        graph = tf.compat.v1.GraphDef.FromString(self.path.read_bytes())
        function = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        return function.prune([f"{name}:0" for name in TOKEN_INPUTS], "Identity:0")

    def __call__(self, batch, signature="tokens"):
        import tensorflow as tf

        return {"output": self.function(*(tf.constant(batch[name]) for name in TOKEN_INPUTS)).numpy()}


FROZEN_GRAPH = Format(
    title="Frozen graph (reads tokens)",
    converter=f"{__name__}.convert_to_frozen_graph",
    runtime=f"{__name__}.FrozenGraphRuntime",
    signatures=("tokens",),
    quantizations={"none": Tolerance(outputs=1e-4, agreement=0.99, score=0.005)},
    file="frozen_graph/{name}.pb",
)
