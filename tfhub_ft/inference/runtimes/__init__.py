"""Load artifacts that predict: Keras models, SavedModels, TFLite and ONNX files."""
