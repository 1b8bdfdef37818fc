"""Peer: replies of Hugging Face's `generate`, one at a time, with greedy decoding.

    python hf_generate.py --model CHECKPOINT

CHECKPOINT is the folder that dialogue_generation.py writes: a Llama, and the token ids of the prompts in prompts.json.
"""

from side import Clock, finish, reply_rates  # isort: skip  the clock starts first

import argparse
import json
import statistics
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

PACKAGES = ("torch", "transformers", "safetensors")
TOKENS = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="float32")
    args, clock = parser.parse_args(), Clock()
    clock.lap("imports")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.precision)).eval()
    prompts = json.loads((args.model / "prompts.json").read_text())
    clock.lap("load")

    @torch.inference_mode()
    def write(prompt):
        ids = torch.tensor([prompt])
        written = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=model.config.eos_token_id,
        )
        return written[0, len(prompt) :].tolist()

    rates, written = reply_rates(write, prompts)
    finish(clock, PACKAGES, tokens_per_second=statistics.median(rates), rates=rates, written=written)


if __name__ == "__main__":
    main()
