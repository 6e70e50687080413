"""A hand-written offload loop in PyTorch, for peer.py: what one gets by hand, with streams and page-locked memory.

Decoder layers lie in page-locked host memory (bf16), one flat buffer each. The next layer's parameters are copied in on a stream of
their own while this one computes, forward and backward; gradients leave on another stream. Layer inputs stay on the GPU and layers
are computed again in backward. fp32 master weights and AdamW states are on the host, updated by torch._fused_adamw_ once
the norm of all gradients is known, as exact clipping asks for. Embedding, last norm and head stay on the GPU; their states do not.
"""
import contextlib

import torch
from torch.func import functional_call

buffers = 3


class Flat:
    """Tensors of one dtype side by side in one buffer."""

    def __init__(self, tensors, device, pinned=False):
        self.shapes = [t.shape for t in tensors]
        count = sum(t.numel() for t in tensors)
        self.data = torch.empty(count, dtype=torch.bfloat16, device=device, pin_memory=pinned)
        for view, tensor in zip(self.views(self.data), tensors):
            view.copy_(tensor.detach())

    def views(self, data):
        at = 0
        for shape in self.shapes:
            count = shape.numel()
            yield data[at:at + count].view(shape)
            at += count


class Streams:
    """Copies beside computing; on a CPU everything simply happens in order."""

    def __init__(self, device):
        self.cuda = device == "cuda"
        self.inward, self.outward = (torch.cuda.Stream(), torch.cuda.Stream()) if self.cuda else (None, None)

    def on(self, stream):
        return torch.cuda.stream(stream) if self.cuda else contextlib.nullcontext()

    def mark(self, stream=None):
        return (stream or torch.cuda.current_stream()).record_event() if self.cuda else None

    def wait(self, event, stream=None):
        if self.cuda and event is not None:
            (stream or torch.cuda.current_stream()).wait_event(event)

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()


class OffloadLoop:
    def __init__(self, model, device, lr=1e-5, clip=1.0):
        self.device, self.lr, self.clip = device, lr, clip
        self.streams = Streams(device)
        self.layers = list(model.model.layers)
        self.names = [[name for name, _ in layer.named_parameters()] for layer in self.layers]
        pinned = device == "cuda"
        self.host = [Flat([p for _, p in layer.named_parameters()], "cpu", pinned) for layer in self.layers]
        self.rest = [p for name, p in model.named_parameters() if not name.startswith("model.layers.")]
        self.embed, self.norm, self.rotary, self.head = model.model.embed_tokens, model.model.norm, model.model.rotary_emb, model.lm_head
        for module in (self.embed, self.norm, self.head):
            module.to(device)
        self.rotary.to(device)
        size = max(flat.data.numel() for flat in self.host)
        made = lambda: torch.empty(size, dtype=torch.bfloat16, device=device)
        self.slots, self.grads = [made() for _ in range(buffers)], [made() for _ in range(buffers)]
        self.used, self.left = [None] * buffers, [None] * buffers
        groups = [flat.data for flat in self.host] + [p.detach().flatten().cpu() for p in self.rest]
        self.host_grads = [torch.empty(g.shape, dtype=torch.bfloat16, pin_memory=pinned) for g in groups]
        self.masters = [g.float() for g in groups]
        self.moments = [(torch.zeros_like(m), torch.zeros_like(m)) for m in self.masters]
        self.step_count = torch.zeros(())
        for layer in self.layers:
            layer.to("meta")

    def fetch(self, turn, layer):
        slot = turn % buffers
        flat = self.host[layer]
        with self.streams.on(self.streams.inward):
            self.streams.wait(self.used[slot], self.streams.inward)
            self.slots[slot][:flat.data.numel()].copy_(flat.data, non_blocking=True)
            return self.streams.mark(self.streams.inward)

    def parameters(self, turn, layer):
        flat = self.host[layer]
        views = flat.views(self.slots[turn % buffers])
        return {name: view.detach().requires_grad_() for name, view in zip(self.names[layer], views)}

    def run(self, layer, parameters, x, positions, rope):
        out = functional_call(self.layers[layer], parameters, (x,), dict(position_ids=positions, position_embeddings=rope))
        return out[0] if isinstance(out, tuple) else out

    def step(self, ids):
        count = len(self.layers)
        order = list(range(count)) + list(reversed(range(count)))
        ready = {turn: self.fetch(turn, order[turn]) for turn in range(min(2, len(order)))}
        positions = torch.arange(ids.shape[1], device=self.device).unsqueeze(0)
        embedded = self.embed(ids)
        rope = self.rotary(embedded, positions)
        x = embedded.detach()
        inputs = []

        def entered(turn):
            self.streams.wait(ready.pop(turn))
            if turn + 2 < len(order):
                ready[turn + 2] = self.fetch(turn + 2, order[turn + 2])

        for turn in range(count):
            entered(turn)
            inputs.append(x)
            with torch.no_grad():
                x = self.run(turn, self.parameters(turn, turn), x, positions, rope)
            self.used[turn % buffers] = self.streams.mark()
        x.requires_grad_()
        logits = self.head(self.norm(x))
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        gradient, x.grad = x.grad, None
        squares = torch.zeros((), device=self.device)
        for turn in range(count, 2 * count):
            layer = order[turn]
            entered(turn)
            parameters = self.parameters(turn, layer)
            x = inputs.pop().requires_grad_()
            with torch.enable_grad():
                out = self.run(layer, parameters, x, positions, rope)
            out.backward(gradient)
            gradient = x.grad
            self.used[turn % buffers] = self.streams.mark()
            slot = turn % buffers
            self.streams.wait(self.left[slot])
            size = self.host[layer].data.numel()
            flat = self.grads[slot][:size]
            torch.cat([p.grad.flatten() for p in parameters.values()], out=flat)
            squares += torch.linalg.vector_norm(flat, dtype=torch.float32) ** 2
            done = self.streams.mark()
            with self.streams.on(self.streams.outward):
                self.streams.wait(done, self.streams.outward)
                self.host_grads[layer].copy_(flat, non_blocking=True)
                self.left[slot] = self.streams.mark(self.streams.outward)
        embedded.backward(gradient)
        for p, host in zip(self.rest, self.host_grads[count:]):
            squares += torch.linalg.vector_norm(p.grad, dtype=torch.float32) ** 2
            host.copy_(p.grad.flatten(), non_blocking=True)
        norm = squares.sqrt().item()
        self.streams.sync()
        self.update(min(1.0, self.clip / (norm + 1e-6)), count)
        return loss.detach()

    def update(self, scale, count):
        self.step_count += 1
        for i, (master, (m, v), gradient) in enumerate(zip(self.masters, self.moments, self.host_grads)):
            torch._fused_adamw_([master], [gradient.float().mul_(scale)], [m], [v], [], [self.step_count], lr=self.lr, beta1=0.9,
                                beta2=0.95, weight_decay=0.1, eps=1e-8, amsgrad=False, maximize=False)
            if i < count:
                self.host[i].data.copy_(master)
            else:
                p = self.rest[i - count]
                p.data.copy_(master.view(p.shape), non_blocking=True)
                p.grad = None
