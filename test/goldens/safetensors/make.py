"""Made with Python 3, torch 2.13.0+cpu and safetensors 0.8.0: python make.py, in this folder."""
import json
import torch
from safetensors.torch import save_file

tensors = {
    "embed.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8 - 0.5,
    "head.bias": torch.tensor([1.5, -2.25, float("inf"), float("nan")], dtype=torch.bfloat16),
    "half": torch.tensor([[0.0, -0.0], [65504.0, 6e-8]], dtype=torch.float16),
    "steps": torch.tensor([2**53 + 1, -1], dtype=torch.int64),
    "mask": torch.tensor([True, False, True]),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "double": torch.tensor(3.141592653589793, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "größe \"x\"\n": torch.tensor([7], dtype=torch.int32),
    "float8": torch.tensor([0.5, -448.0]).to(torch.float8_e4m3fn),
}
save_file(tensors, "mixed.safetensors", metadata={"format": "pt", "note": "golden"})
raw = {n: bytes(t.contiguous().reshape(-1).view(torch.uint8).tolist()).hex() if t.numel() else "" for n, t in tensors.items()}
described = {n: {"shape": list(t.shape), "torch": str(t.dtype), "hex": raw[n]} for n, t in tensors.items()}
with open("mixed.json", "w") as out:
    json.dump(described, out, indent=1)
