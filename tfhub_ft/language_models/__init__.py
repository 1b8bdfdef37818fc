"""Causal language models: where a preset comes from, conversion from GGUF, and its tokenizer."""
