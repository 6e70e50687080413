"""PyTorch's own tensor and pipeline parallelism beside `tierra run`: `mode` tp (DTensor: column and row pairs, vocabulary-parallel loss) or pp
(torch.distributed.pipelining, 1F1B). A Llama with a head of its own, bf16 parameters, fp32 masters and AdamW states, clipped by the norm over all ranks.

    python3 -m torch.distributed.run --nproc-per-node=2 bench/gpu/peer_parallel.py '{"mode":"tp","preset":"llama-3.2-3b","batch":4,"length":4096,"steps":8}'

Rank 0 prints one JSON line; flops by the strict count of train.ts.
"""
import json
import os
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor import DTensor, Replicate, Shard, init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, loss_parallel, parallelize_module
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM

row = json.loads(sys.argv[1])
mode, batch, length, device = row["mode"], row["batch"], row["length"], row.get("device", "cuda")
micro_batches = row.get("microBatches", 1)
shapes = {
    "llama-3.2-3b": dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
                         num_key_value_heads=8, head_dim=128, vocab_size=128256),
    # To try this program on a CPU.
    "tiny": dict(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                 vocab_size=256),
}
rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if device == "cuda":
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
here = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
dist.init_process_group("nccl" if device == "cuda" else "gloo")
config = LlamaConfig(**shapes[row["preset"]], max_position_embeddings=length, attn_implementation="sdpa", use_cache=False,
                     tie_word_embeddings=False)
torch.manual_seed(0)
with here:
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config)
model.train()
count = sum(p.numel() for p in model.parameters())


class Layers(torch.nn.Module):
    """Some of the model's layers, with the embedding before them or the norm and head behind them."""

    def __init__(self, first, last):
        super().__init__()
        self.embedding = model.model.embed_tokens if first == 0 else None
        self.layers = torch.nn.ModuleList(model.model.layers[first:last])
        is_last = last == config.num_hidden_layers
        self.norm, self.head = (model.model.norm, model.lm_head) if is_last else (None, None)
        self.rotary = model.model.rotary_emb

    def forward(self, x):
        if self.embedding is not None:
            x = self.embedding(x)
        positions = self.rotary(x, torch.arange(x.shape[1], device=x.device)[None])
        for layer in self.layers:
            call = lambda y, layer=layer: layer(y, position_embeddings=positions)
            out = checkpoint(call, x, use_reentrant=False) if row.get("recompute") else call(x)
            x = out[0] if isinstance(out, tuple) else out
        return x if self.norm is None else self.head(self.norm(x))


def loss_of(logits, ids):
    labels = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1)
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)


schedule = None
if mode == "tp":
    layer = {f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"}
    layer |= {f"mlp.{name}_proj": ColwiseParallel() for name in ("gate", "up")}
    layer |= {"self_attn.o_proj": RowwiseParallel(), "mlp.down_proj": RowwiseParallel()}
    whole = Layers(0, config.num_hidden_layers)
    mesh = init_device_mesh(device, (ranks,))
    parallelize_module(whole, mesh, {
        "embedding": RowwiseParallel(input_layouts=Replicate()),
        **{f"layers.{i}.{name}": how for i in range(config.num_hidden_layers) for name, how in layer.items()},
        "head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
    })
    part = whole
else:
    cuts = [config.num_hidden_layers * i // ranks for i in range(ranks + 1)]
    part = Layers(cuts[rank], cuts[rank + 1])
    stage = PipelineStage(part, rank, ranks, here)
    schedule = Schedule1F1B(stage, micro_batches, loss_fn=loss_of)
# What this rank has no part in is given back.
model = None
parameters = list(part.parameters())
local = lambda p: p.to_local() if isinstance(p, DTensor) else p
# Gradients come as they fell out: a vocabulary-parallel embedding's is whole.
gradient_of = lambda p: p.grad.redistribute(placements=p.placements).to_local() if isinstance(p, DTensor) else p.grad
copied = [mode == "tp" and not isinstance(p, DTensor) for p in parameters]
masters = [local(p).detach().float() for p in parameters]
optimizer = torch.optim.AdamW(masters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def step(ids):
    if schedule is None:
        with loss_parallel():
            loss = loss_of(part(ids), ids)
            loss.backward()
        loss = loss.full_tensor() if isinstance(loss, DTensor) else loss
    else:
        losses = []
        first, last = rank == 0, rank == ranks - 1
        schedule.step(*([ids] if first else []), **(dict(target=ids, losses=losses) if last else {}))
        loss = torch.stack(losses).mean() if last else torch.zeros((), device=here, dtype=torch.float32)
    with torch.no_grad():
        squares = torch.zeros(2, device=here, dtype=torch.float32)
        for master, p, is_copied in zip(masters, parameters, copied):
            master.grad, p.grad = gradient_of(p).float(), None
            squares[int(is_copied)] += master.grad.square().sum()
        own = squares[0].clone()
        dist.all_reduce(own)
        factor = (1.0 / ((own + squares[1]).sqrt() + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([master.grad for master in masters], factor)
        optimizer.step()
        for master, p in zip(masters, parameters):
            local(p).copy_(master)
            master.grad = None
    return loss


def synchronize():
    if device == "cuda":
        torch.cuda.synchronize()
    dist.barrier()


times, losses = [], []
generator = torch.Generator(device=here).manual_seed(1)
for _ in range(row["steps"]):
    ids = torch.randint(0, config.vocab_size, (batch * (micro_batches if mode == "pp" else 1), length), device=here, generator=generator)
    synchronize()
    began = time.perf_counter()
    losses.append(step(ids).detach().clone())
    synchronize()
    times.append(time.perf_counter() - began)
measured = sorted(times[2:])
median = measured[len(measured) // 2]
matmul = count - config.vocab_size * config.hidden_size
head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
tokens = ids.numel()
flops = tokens * (6 * matmul + 6 * config.num_hidden_layers * config.num_attention_heads * head * length)
# The last stage has the losses.
for loss in losses if mode == "pp" else []:
    dist.all_reduce(loss)
if rank == 0:
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 1) if device == "cuda" else None
    print(json.dumps(dict(label=row["label"], parameters=count, stepSeconds=round(median, 4),
                          tokensPerSecond=round(tokens / median), tflops=round(flops / median / 1e12, 1), peakGiB=peak,
                          losses=[round(loss.item(), 4) for loss in losses[:4]])))
dist.destroy_process_group()
