"""Measure the tokens per second of replies of 64 tokens: with a cache, without one, and by Hugging Face's `generate`.

    python benchmarks/dialogue_generation.py --peers-python .venv-peers/bin/python

The model is smollm2-135m-instruct without fine-tuning, in float32 and in bfloat16; the peer gets a checkpoint with
the same weights. Each side reads the same token ids, writes one reply at a time and always picks the likeliest token.
In float32 all sides must write the same tokens. Without a cache, each token takes a forward pass over all tokens
before it, in a graph. Each side runs in its own process; they take turns for 3 rounds, and the median over all
replies counts, from the token ids of the prompt to the last token. Loading and a first reply are not timed.
"""

from peers.side import Clock, finish, reply_rates  # isort: skip  the clock starts first

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import keep

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODEL, TOKENS, ROUNDS = "smollm2-135m-instruct", 64, 3
PROMPTS = (
    "Tell me a story about a lighthouse keeper and his cat.",
    "Explain in detail how a bicycle stays upright.",
    "Write a long letter to a friend about a week in the mountains.",
)
PACKAGES = ("tensorflow", "keras", "keras-hub", "numpy")
PEER = Path(__file__).parent / "peers" / "hf_generate.py"
SIDES = {
    "tfhub_ft": [__file__, "with-cache"],
    "tfhub_ft_without_cache": [__file__, "without-cache"],
    "tfhub_ft_bfloat16": [__file__, "with-cache", "--precision", "bfloat16"],
    "tfhub_ft_bfloat16_without_cache": [__file__, "without-cache", "--precision", "bfloat16"],
    "hugging_face": [PEER, "--precision", "float32"],
    "hugging_face_bfloat16": [PEER, "--precision", "bfloat16"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "side", nargs="?", choices=("with-cache", "without-cache", "checkpoint"), help=argparse.SUPPRESS
    )
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    python = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
    parser.add_argument("--peers-python", type=Path, default=python, help="Python with peers/requirements.txt")
    options = parser.parse_args()
    if options.side:
        if options.side == "checkpoint":
            checkpoint(options.model)
        else:
            {"with-cache": with_cache, "without-cache": without_cache}[options.side](options.model, options.precision)
        return
    with tempfile.TemporaryDirectory() as folder:
        process([sys.executable, __file__, "checkpoint"], folder)
        keep("dialogue_generation", compared(rounds(options, folder)))


def rounds(options, folder):
    """Return the figures of each side in each round."""
    measured = {name: [] for name in SIDES}
    for number in range(options.rounds):
        for name, command in SIDES.items():
            python = options.peers_python.absolute() if PEER in command else sys.executable
            figures = json.loads(process([python, *command], folder).removeprefix("RESULT "))
            measured[name].append(figures)
            print(f"round {number + 1}, {name}: {figures['tokens_per_second']}", file=sys.stderr, flush=True)
    return measured


def process(command, folder):
    """Run a command on the checkpoint's folder and return the last line of its output."""
    done = subprocess.run([*map(str, command), "--model", folder], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return (done.stdout.splitlines() or [""])[-1]


def compared(measured):
    """Return the median rates, the ratio, and every round."""
    written = {name: [figures.pop("written") for figures in some] for name, some in measured.items()}
    for name in ("tfhub_ft_without_cache", "hugging_face"):
        if written[name] != written["tfhub_ft"]:
            sys.exit(f"{name} writes different tokens:\n{written[name][0]}\n{written['tfhub_ft'][0]}")
    rates = {
        name: statistics.median(figures["tokens_per_second"] for figures in some) for name, some in measured.items()
    }
    faster = {
        name: {other: round(rates[name] / rate, 2) for other, rate in rates.items() if other != name}
        for name in ("tfhub_ft", "tfhub_ft_bfloat16")
    }
    return {
        "model": MODEL,
        "reply_tokens": [len(ids) for ids in written["tfhub_ft"][0]],
        "tokens_per_second": rates,
        "times_as_fast": faster,
        "rounds": measured,
    }


def with_cache(folder, precision):
    clock = Clock()
    from tfhub_ft.language_models.generation import ReplyWriter, Sampling

    clock.lap("imports")
    writer, sampling = ReplyWriter(model(precision)), Sampling(max_tokens=TOKENS)
    finish_replies(clock, lambda prompt: list(writer.tokens(prompt, sampling)), folder)


def without_cache(folder, precision):
    clock = Clock()
    import tensorflow as tf
    from tfhub_ft.recipes import dialogue  # noqa: F401  its imports

    clock.lap("imports")
    causal_lm = language_model_of(model(precision)).causal_lm

    @tf.function(input_signature=[tf.TensorSpec((1, None), tf.int32)], autograph=False)
    def likeliest(ids):
        hidden = causal_lm.backbone({"token_ids": ids, "padding_mask": tf.ones_like(ids)})
        return tf.argmax(causal_lm.backbone.token_embedding(hidden[:, -1], reverse=True), -1, tf.int32)

    def write(prompt):
        ids = list(prompt)
        while len(ids) < len(prompt) + TOKENS:
            ids.append(int(likeliest(tf.constant([ids]))[0]))
        return ids[len(prompt) :]

    finish_replies(clock, write, folder)


def finish_replies(clock, write, folder):
    prompts = json.loads((folder / "prompts.json").read_text())
    clock.lap("load")
    rates, written = reply_rates(write, prompts)
    finish(clock, PACKAGES, tokens_per_second=statistics.median(rates), rates=rates, written=written)


def model(precision="float32"):
    from tfhub_ft.recipes import dialogue

    from tfhub_ft.utils.precision import dtype_policy

    built = dialogue.build_model(MODEL)
    language_model_of(built).dtype_policy = dtype_policy(precision)
    return built


def language_model_of(built):
    return built.get_layer("token_model").get_layer("language_model")


def checkpoint(folder):
    """Write the preset's weights as a Hugging Face checkpoint, with the token ids of the prompts."""
    from safetensors.numpy import save_file

    built = model()
    backbone = language_model_of(built).backbone
    described = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "intermediate_size": backbone.intermediate_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_query_heads,
        "num_key_value_heads": backbone.num_key_value_heads,
        "rms_norm_eps": backbone.layer_norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": backbone.rope_max_wavelength},
        "tie_word_embeddings": True,
        "eos_token_id": built.get_layer("preprocessor").end_id,
    }
    (folder / "config.json").write_text(json.dumps(described))
    save_file(hugging_face_weights(backbone), folder / "model.safetensors", metadata={"format": "pt"})
    prompts = [built.get_layer("preprocessor").prompt_ids([{"role": "user", "content": text}]) for text in PROMPTS]
    (folder / "prompts.json").write_text(json.dumps(prompts))


def hugging_face_weights(backbone):
    import numpy as np

    names = {
        "self_attention_layernorm/scale": "input_layernorm",
        "self_attention/query/kernel": "self_attn.q_proj",
        "self_attention/key/kernel": "self_attn.k_proj",
        "self_attention/value/kernel": "self_attn.v_proj",
        "self_attention/attention_output/kernel": "self_attn.o_proj",
        "feedforward_layernorm/scale": "post_attention_layernorm",
        "feedforward_gate_dense/kernel": "mlp.gate_proj",
        "feedforward_intermediate_dense/kernel": "mlp.up_proj",
        "feedforward_output_dense/kernel": "mlp.down_proj",
        "token_embedding/embeddings": "embed_tokens",
        "sequence_output_layernorm/scale": "norm",
    }
    weights = {}
    for weight in backbone.weights:
        layer, _, rest = weight.path.partition("/")
        number = layer.removeprefix("transformer_layer_")
        value = weight.numpy()
        if "attention_output" in rest:
            value = value.reshape(-1, value.shape[-1])
        if rest.endswith("kernel"):
            value = value.reshape(value.shape[0], -1).T
        name = f"layers.{number}.{names[rest]}" if number != layer else names[weight.path]
        weights[f"model.{name}.weight"] = np.ascontiguousarray(value)
    return weights


if __name__ == "__main__":
    main()
