"""Writes updates.json beside this file: weights after steps of torch.optim.AdamW and torch.optim.SGD in float64, with the
gradients that led there. Lion is not in torch: it is written out here from the paper's algorithm 2.

Run with a Python that has torch (made with 2.13.0): python test/goldens/optim/updates.py
"""

import json
import pathlib

import torch

torch.manual_seed(7)
count, steps = 13, 20
start = torch.randn(count, dtype=torch.float64)
gradients = [torch.randn(count, dtype=torch.float64) * 10 ** torch.randn(count, dtype=torch.float64) for _ in range(steps)]


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                beta1, beta2 = group["betas"]
                update = torch.sign(beta1 * m + (1 - beta1) * p.grad)
                p.sub_(group["lr"] * (update + group["weight_decay"] * p))
                m.copy_(beta2 * m + (1 - beta2) * p.grad)


def run(make):
    p = torch.nn.Parameter(start.clone())
    optimizer = make([p])
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
    return p.detach().tolist()


cases = []
for options in [dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
                dict(lr=3e-3, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.0)]:
    cases.append({"name": "adamw", "learningRate": options["lr"], "betas": options["betas"], "eps": options["eps"],
                  "weightDecay": options["weight_decay"], "momentum": 0, "nesterov": False,
                  "weights": run(lambda p: torch.optim.AdamW(p, **options))})
for momentum, nesterov, decay in [(0.0, False, 0.05), (0.9, False, 0.05), (0.8, True, 0.0)]:
    cases.append({"name": "sgd", "learningRate": 1e-2, "betas": (0, 0), "eps": 1e-8, "weightDecay": decay,
                  "momentum": momentum, "nesterov": nesterov, "weights": run(lambda p: torch.optim.SGD(
                      p, lr=1e-2, momentum=momentum, nesterov=nesterov, weight_decay=decay))})
cases.append({"name": "lion", "learningRate": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weightDecay": 0.1, "momentum": 0,
              "nesterov": False, "weights": run(lambda p: Lion(p, 1e-2, (0.9, 0.99), 0.1))})

target = pathlib.Path(__file__).with_name("updates.json")
target.write_text(json.dumps({"madeBy": "test/goldens/optim/updates.py", "torch": torch.__version__, "start": start.tolist(),
                              "gradients": [g.tolist() for g in gradients], "cases": cases}) + "\n")
