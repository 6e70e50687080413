"""Writes schedules.json beside this file: factors of the peak rate, step by step, as torch.optim.lr_scheduler gives them.

Run with a Python that has torch (made with 2.13.0): python test/goldens/optim/schedules.py
"""

import json
import pathlib
import warnings

import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
)

warnings.filterwarnings("ignore")


def factors(make, steps):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warmed(decay, warmup):
    """Linear warm-up from 1 / (warmup + 1), then `decay`."""
    def make(optimizer):
        if warmup == 0:
            return decay(optimizer)
        rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return SequentialLR(optimizer, [rise, decay(optimizer)], milestones=[warmup])
    return make


cases = []
for total, warmup, least in [(40, 0, 0.0), (40, 7, 0.1), (25, 1, 0.5)]:
    base = {"totalSteps": total, "warmupSteps": warmup, "minRateFraction": least}
    span = total - warmup
    cases.append({"name": "cosine", "options": base, "factors": factors(
        warmed(lambda o: CosineAnnealingLR(o, T_max=span, eta_min=least), warmup), total)})
    cases.append({"name": "linear", "options": base, "factors": factors(
        warmed(lambda o: LinearLR(o, start_factor=1.0, end_factor=least, total_iters=span), warmup), total)})
    for power in [1.0, 2.0, 0.5]:
        # PolynomialLR has no minimum: only the cases that end at zero compare.
        cases.append({"name": "polynomial", "options": {**base, "minRateFraction": 0.0, "power": power},
                      "factors": factors(warmed(lambda o: PolynomialLR(o, total_iters=span, power=power), warmup), total)})
for total, warmup, start, least in [(40, 12, 1 / 25, 1 / 250_000), (100, 10, 0.1, 0.001), (30, 15, 0.5, 0.25)]:
    cases.append({
        "name": "onecycle",
        "options": {"totalSteps": total, "warmupSteps": warmup, "startFraction": start, "minRateFraction": least},
        "factors": factors(lambda o: OneCycleLR(
            o, max_lr=1.0, total_steps=total, pct_start=warmup / total, div_factor=1 / start,
            final_div_factor=start / least, cycle_momentum=False), total - 1)})

target = pathlib.Path(__file__).with_name("schedules.json")
target.write_text(json.dumps({"madeBy": "test/goldens/optim/schedules.py", "torch": torch.__version__, "cases": cases}) + "\n")
