"""PyTorch beside train.ts: the same shapes, tokens and precision (bf16 parameters, fp32 master weights and AdamW states).

`mode`: eager, compile (torch.compile), reduce-overhead (torch.compile with CUDA graphs), fsdp2 (fully_shard with CPUOffloadPolicy: fp32 parameters and states on the CPU, bf16
compute), fsdp2-gpu (the same without the policy; both take as many ranks as torchrun starts), or handmade (peer_offload.py). Prints one JSON line; flops by the strict count of train.ts.
"""
import json
import os
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

row = json.loads(sys.argv[1])
mode, batch, length, device = row["mode"], row["batch"], row["length"], row.get("device", "cuda")
shapes = {
    "llama-1.1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
                       num_key_value_heads=4, vocab_size=32000),
    "llama-3.2-3b": dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
                         num_key_value_heads=8, head_dim=128, vocab_size=128256, tie_word_embeddings=True),
    "llama-2-7b": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
                       num_key_value_heads=32, vocab_size=32000),
    # To try this program on a CPU.
    "tiny": dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                 vocab_size=256, tie_word_embeddings=True),
}
gpt2_shapes = {
    "gpt2": dict(n_embd=768, n_layer=12, n_head=12, vocab_size=50257),
    # To try this program on a CPU.
    "gpt2-tiny": dict(n_embd=64, n_layer=3, n_head=4, vocab_size=256),
}
torch.manual_seed(0)
sharded, offload = mode.startswith("fsdp2"), mode == "fsdp2"
rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if device == "cuda":
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
is_gpt2 = row["preset"] in gpt2_shapes
common = dict(attn_implementation="sdpa", use_cache=False)
if is_gpt2:
    config = GPT2Config(**gpt2_shapes[row["preset"]], n_positions=length, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **common)
else:
    config = LlamaConfig(**shapes[row["preset"]], max_position_embeddings=length, **common)
# Made where that is quick, also what then lives on the CPU.
with torch.device(device):
    torch.set_default_dtype(torch.float32 if sharded else torch.bfloat16)
    model = GPT2LMHeadModel(config) if is_gpt2 else LlamaForCausalLM(config)
if offload or mode == "handmade":
    model.to("cpu")
model.train()
if row.get("recompute"):
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
if sharded:
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

    for name, value in dict(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", RANK="0", WORLD_SIZE="1").items():
        os.environ.setdefault(name, value)
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl")
    policy = dict(mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    if offload:
        policy["offload_policy"] = CPUOffloadPolicy()
    for layer in model.model.layers:
        fully_shard(layer, **policy)
    fully_shard(model, **policy)
parameters = list(model.parameters())
count = sum(p.numel() for p in parameters)
loop = None
if mode == "handmade":
    from peer_offload import OffloadLoop

    loop = OffloadLoop(model, device)
    parameters = []
masters = parameters if sharded else [p.detach().float() for p in parameters]
optimizer = None if loop else torch.optim.AdamW(masters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
compiled = {"compile": {}, "reduce-overhead": dict(mode="reduce-overhead")}
run = torch.compile(model, **compiled[mode]) if mode in compiled else model


def synchronize():
    if device == "cuda":
        torch.cuda.synchronize()


def step(ids):
    if loop:
        return loop.step(ids)
    if mode == "reduce-overhead":
        torch.compiler.cudagraph_mark_step_begin()
    loss = run(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    if sharded:
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
losses = []
for _ in range(row["steps"]):
    ids = torch.randint(0, config.vocab_size, (batch, length), device=device)
    synchronize()
    began = time.perf_counter()
    # A graph's next replay writes over what it returned.
    losses.append(step(ids).detach().clone())
    synchronize()
    times.append(time.perf_counter() - began)
measured = sorted(times[2:])
median = measured[len(measured) // 2]
matmul = count - (0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size)
matmul -= length * config.hidden_size if is_gpt2 else 0
head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
tokens = batch * length * ranks
flops = tokens * (6 * matmul + 6 * config.num_hidden_layers * config.num_attention_heads * head * length)
if rank == 0:
    print(json.dumps(dict(label=row["label"], parameters=count, stepSeconds=round(median, 4),
                      tokensPerSecond=round(tokens / median), tflops=round(flops / median / 1e12, 1),
                      peakGiB=round(torch.cuda.max_memory_allocated() / 2**30, 1) if device == "cuda" else None, losses=[round(loss.item(), 4) for loss in losses[:4]])))
