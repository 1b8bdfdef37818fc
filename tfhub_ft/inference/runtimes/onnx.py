"""Run an ONNX file with ONNX Runtime."""

from functools import cached_property
from typing import TYPE_CHECKING

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime, to_arrays

if TYPE_CHECKING:
    import onnxruntime


class ONNXRuntime(Runtime):
    """An ONNX file that reads tokens."""

    packages = ("onnxruntime",)
    outputs_texts = False

    @cached_property
    def session(self) -> "onnxruntime.InferenceSession":
        """The ONNX Runtime session."""
        import onnxruntime

        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        inputs = {tensor.name: batch[tensor.name] for tensor in self.session.get_inputs()}
        names = [tensor.name for tensor in self.session.get_outputs()]
        return to_arrays(dict(zip(names, self.session.run(names, inputs), strict=True)))
