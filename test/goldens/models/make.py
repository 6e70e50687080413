"""Makes the checkpoints and logits in this folder: tiny random models of transformers, saved as safetensors in fp32.

python test/goldens/models/make.py [name …]     (torch 2.13.0+cpu, transformers 5.23.0)
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers

here = pathlib.Path(__file__).parent
vocabulary = 64
llama = dict(
    vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
rope_llama3 = dict(
    rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
rope_linear = dict(rope_type="linear", rope_theta=10000.0, factor=2.0)
T = transformers
cases = {
    "gpt2": (T.GPT2LMHeadModel, T.GPT2Config(
        vocab_size=vocabulary, n_positions=32, n_embd=24, n_layer=2, n_head=3, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2), {}),
    "gpt2-untied": (T.GPT2LMHeadModel, T.GPT2Config(
        vocab_size=vocabulary, n_positions=32, n_embd=24, n_layer=1, n_head=2, n_inner=40, initializer_range=0.2,
        activation_function="gelu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2), {}),
    "llama": (T.LlamaForCausalLM, T.LlamaConfig(**llama, rms_norm_eps=1e-5), {}),
    "llama-tied-llama3": (T.LlamaForCausalLM, T.LlamaConfig(
        **llama, rope_parameters=rope_llama3, tie_word_embeddings=True), {}),
    "llama-linear-bias": (T.LlamaForCausalLM, T.LlamaConfig(
        **llama, rope_parameters=rope_linear, attention_bias=True, mlp_bias=True, head_dim=12), {}),
    "llama-sharded": (T.LlamaForCausalLM, T.LlamaConfig(**llama), {"max_shard_size": "20KB"}),
    "qwen2": (T.Qwen2ForCausalLM, T.Qwen2Config(**llama, tie_word_embeddings=True), {}),
    "qwen2-window": (T.Qwen2ForCausalLM, T.Qwen2Config(
        **llama, use_sliding_window=True, sliding_window=4, max_window_layers=1), {}),
    "qwen3": (T.Qwen3ForCausalLM, T.Qwen3Config(**llama, head_dim=16), {}),
    "mistral": (T.MistralForCausalLM, T.MistralConfig(**llama, sliding_window=5), {}),
    "mixtral": (T.MixtralForCausalLM, T.MixtralConfig(**llama, num_local_experts=4, num_experts_per_tok=2), {}),
}

for name in sys.argv[1:] or cases:
    kind, config, saving = cases[name]
    torch.manual_seed(sum(name.encode()))
    config._attn_implementation = "eager"
    model = kind(config).eval()
    for parameter in model.parameters():  # norms and biases are constants when new: give them a say
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **saving)
    (folder / "generation_config.json").unlink(missing_ok=True)
    ids = torch.randint(0, vocabulary, (2, 20))
    with torch.no_grad():
        logits = model(ids).logits
        prompt = dict(inputs=ids[:1, :7], attention_mask=torch.ones(1, 7, dtype=torch.long))
        greedy = model.generate(**prompt, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    expected = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "ids": ids.tolist(),
        "shape": list(logits.shape),
        "logits": [float(f"{x:.8g}") for x in logits.flatten().tolist()],
        "prompt": ids[0, :7].tolist(),
        "greedy": greedy[0, 7:].tolist(),
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(name, sum(f.stat().st_size for f in folder.iterdir()))
