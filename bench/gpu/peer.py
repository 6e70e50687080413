"""PyTorch beside train.ts: the same shapes, tokens and precision (bf16 parameters, fp32 master weights and AdamW states).

`mode`: eager, compile (torch.compile), or fsdp2 (fully_shard with CPUOffloadPolicy and one rank: fp32 parameters and
states on the CPU, bf16 compute). Prints one JSON line; flops by the strict count of train.ts.
"""
import json
import os
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

row = json.loads(sys.argv[1])
mode, batch, length = row["mode"], row["batch"], row["length"]
shapes = {
    "llama-1.1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
                       num_key_value_heads=4, vocab_size=32000),
    "llama-3.2-3b": dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
                         num_key_value_heads=8, head_dim=128, vocab_size=128256, tie_word_embeddings=True),
}
torch.manual_seed(0)
offload = mode == "fsdp2"
config = LlamaConfig(**shapes[row["preset"]], max_position_embeddings=length, attn_implementation="sdpa", use_cache=False)
with torch.device("cpu" if offload else "cuda"):
    torch.set_default_dtype(torch.float32 if offload else torch.bfloat16)
    model = LlamaForCausalLM(config)
model.train()
if row.get("recompute"):
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
if offload:
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", RANK="0", WORLD_SIZE="1")
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl")
    policy = dict(offload_policy=CPUOffloadPolicy(), mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    for layer in model.model.layers:
        fully_shard(layer, **policy)
    fully_shard(model, **policy)
parameters = list(model.parameters())
masters = parameters if offload else [p.detach().float() for p in parameters]
optimizer = torch.optim.AdamW(masters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
run = torch.compile(model) if mode == "compile" else model


def step(ids):
    loss = run(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    if offload:
        optimizer.step()
        optimizer.zero_grad()
        return loss
    with torch.no_grad():
        for master, p in zip(masters, parameters):
            master.grad, p.grad = p.grad.float(), None
        optimizer.step()
        torch._foreach_copy_(parameters, masters)
    for master in masters:
        master.grad = None
    return loss


times = []
for _ in range(row["steps"]):
    ids = torch.randint(0, config.vocab_size, (batch, length), device="cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    loss = step(ids)
    torch.cuda.synchronize()
    times.append(time.perf_counter() - began)
measured = sorted(times[2:])
median = measured[len(measured) // 2]
count = sum(p.numel() for p in parameters)
matmul = count - (0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size)
head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
flops = batch * length * (6 * matmul + 6 * config.num_hidden_layers * config.num_attention_heads * head * length)
print(json.dumps(dict(label=row["label"], parameters=count, stepSeconds=round(median, 4),
                      tokensPerSecond=round(batch * length / median), tflops=round(flops / median / 1e12, 1),
                      peakGiB=round(torch.cuda.max_memory_allocated() / 2**30, 1), loss=round(float(loss), 4))))
