"""Run an ONNX file by ONNX Runtime."""

from functools import cached_property
from typing import Any

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime


class ONNXRuntime(Runtime):
    """An ONNX file that reads tokens."""

    packages = ("onnxruntime",)
    outputs_texts = False

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime's session of the file."""
        import onnxruntime

        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        inputs = {each.name: batch[each.name] for each in self.session.get_inputs()}
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))
