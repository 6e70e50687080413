"""PyTorch's half of losses.ts: makes a small Llama and tokens in a folder, trains on them, keeps the losses.

    python3 bench/gpu/losses.py FOLDER [--device cuda] [--steps 20] [--seed 1]

Writes FOLDER/model (Hugging Face, fp32), FOLDER/tokens.bin (int64, steps x batch x (length + 1)) and FOLDER/torch.json with
the losses of: fp32; bf16 with fp32 master weights under every attention kernel there is (four on a GPU, two on a CPU), with
logits that are not rounded and, on a GPU, with norms and MLPs compiled. Their differences are what a change of kernels costs.
"""
import argparse
import json
import os

import numpy
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations import sdpa_attention

options = argparse.ArgumentParser()
options.add_argument("folder")
options.add_argument("--device", default="cuda")
options.add_argument("--steps", type=int, default=20)
options.add_argument("--seed", type=int, default=1)
given = options.parse_args()
batch, length = 4, 128
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
config = LlamaConfig(hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4,
                     vocab_size=2048, max_position_embeddings=length, rms_norm_eps=1e-5, use_cache=False,
                     tie_word_embeddings=False, attn_implementation="sdpa")
torch.manual_seed(given.seed)
made = LlamaForCausalLM(config)
made.save_pretrained(os.path.join(given.folder, "model"))
values = {name: value.clone() for name, value in made.state_dict().items()}
# Zipf-like tokens, so that there is something to learn.
generator = numpy.random.default_rng(given.seed)
tokens = numpy.minimum(generator.zipf(1.3, (given.steps, batch, length + 1)) - 1, config.vocab_size - 1).astype(numpy.int64)
tokens.tofile(os.path.join(given.folder, "tokens.bin"))


def train(dtype, backend, compiled=False, wide_logits=False):
    model = LlamaForCausalLM(config)
    model.load_state_dict(values)
    model = model.to(given.device, dtype).train()
    if compiled:
        for layer in model.model.layers:
            for part in (layer.input_layernorm, layer.post_attention_layernorm, layer.mlp):
                part.compile()
    parameters = list(model.parameters())
    # The values as they were before the model was rounded.
    masters = [torch.nn.Parameter(values[name].to(given.device).float().clone()) for name, _ in model.named_parameters()]
    # The groups of Tierra: weight decay for matrices alone.
    matrices = [m for m in masters if m.dim() > 1]
    vectors = [m for m in masters if m.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0.0)],
                                  lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for step in range(given.steps):
        rows = torch.from_numpy(tokens[step]).to(given.device)
        ids, labels = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        with sdpa_kernel([backend]):
            if wide_logits:
                hidden = model.model(input_ids=ids).last_hidden_state
                logits = torch.nn.functional.linear(hidden.float(), model.lm_head.weight.float())
            else:
                logits = model(input_ids=ids).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
            loss.backward()
        for master, p in zip(masters, parameters):
            master.grad, p.grad = p.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for master, p in zip(masters, parameters):
                p.copy_(master)
        losses.append(loss.item())
    return losses


kernels = {"plain": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION}
if given.device.startswith("cuda"):
    kernels |= {"memory-efficient": SDPBackend.EFFICIENT_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
result = {"fp32": train(torch.float32, SDPBackend.MATH)}
for name, kernel in kernels.items():
    # The memory-efficient kernel wants as many key heads as query heads: they are repeated for it.
    uses_groups = sdpa_attention.use_gqa_in_sdpa
    if name == "memory-efficient":
        sdpa_attention.use_gqa_in_sdpa = lambda *_: False
    try:
        result[f"bf16, {name} attention"] = train(torch.bfloat16, kernel)
    except RuntimeError as error:
        if "No available kernel" not in str(error):
            raise
        print(f"{name} attention: not available here ({error})")
    sdpa_attention.use_gqa_in_sdpa = uses_groups
# As fused losses make them, Tierra's too: not rounded to bf16 between product and loss.
result["bf16, flash attention, logits in fp32"] = train(torch.bfloat16, SDPBackend.FLASH_ATTENTION, wide_logits=True)
if given.device.startswith("cuda"):
    result["bf16, flash attention, norms and MLPs compiled"] = train(torch.bfloat16, SDPBackend.FLASH_ATTENTION, compiled=True)
with open(os.path.join(given.folder, "torch.json"), "w") as file:
    json.dump({"torch": torch.__version__, "batch": batch, "length": length, "steps": given.steps, "losses": result}, file)
