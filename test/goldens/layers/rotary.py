"""Cosines and sines of rotary positions as transformers computes them.

python test/goldens/layers/rotary.py > test/goldens/layers/rotary.json     (torch 2.13.0+cpu, transformers 5.23.0)
"""

import json
import sys

import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

positions = [0, 1, 7, 100, 1000, 8000]
cases = {
    "default": dict(rope_type="default", rope_theta=10000.0),
    "linear": dict(rope_type="linear", rope_theta=10000.0, factor=4.0),
    "llama3": dict(
        rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192),
}  # fmt: skip
out = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__}, "positions": positions}
for name, rope in cases.items():
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=131072, rope_parameters=rope
    )
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1, 1, 1, 32), torch.tensor([positions]))
    half = cos.shape[-1] // 2
    rows = zip(cos[0, :, :half].tolist(), sin[0, :, :half].tolist(), strict=True)
    out[name] = [{"cos": c, "sin": s} for c, s in rows]
json.dump(out, sys.stdout)
