"""Export runs to SavedModel, TFLite and ONNX, and verify every file."""
