/** Parameter names of ours to the names Hugging Face checkpoints use; the tensors themselves are the same. */
import type { ModelFamily } from './config.ts';

type Rule = readonly [pattern: RegExp, replacement: string];

const gpt2Rules: readonly Rule[] = [
  [/^embedding\.(wte|wpe)\./, 'transformer.$1.'],
  [/^blocks\.(\d+)\./, 'transformer.h.$1.'],
  [/^head\.norm\./, 'transformer.ln_f.'],
  [/^head\.projection\./, 'lm_head.'],
];

const llamaRules: readonly Rule[] = [
  [/^embedding\.tokens\./, 'model.embed_tokens.'],
  [/^blocks\.(\d+)\.mlp\.(gate|up|down)\./, 'model.layers.$1.mlp.$2_proj.'],
  [/^blocks\.(\d+)\.mlp\.router\.gate\./, 'model.layers.$1.block_sparse_moe.gate.'],
  [/^blocks\.(\d+)\.mlp\.experts\.(\d+)\.gate\./, 'model.layers.$1.block_sparse_moe.experts.$2.w1.'],
  [/^blocks\.(\d+)\.mlp\.experts\.(\d+)\.down\./, 'model.layers.$1.block_sparse_moe.experts.$2.w2.'],
  [/^blocks\.(\d+)\.mlp\.experts\.(\d+)\.up\./, 'model.layers.$1.block_sparse_moe.experts.$2.w3.'],
  [/^blocks\.(\d+)\./, 'model.layers.$1.'],
  [/^head\.norm\./, 'model.norm.'],
  [/^head\.projection\./, 'lm_head.'],
];

/** The name in a checkpoint of the parameter that we call `name`. */
export function hfName(family: ModelFamily, name: string): string {
  for (const [pattern, replacement] of family === 'gpt2' ? gpt2Rules : llamaRules) {
    if (pattern.test(name)) return name.replace(pattern, replacement);
  }
  return name;
}

/** Other names that files in the wild use for `name`: GPT-2's first checkpoints have no `transformer.` prefix. */
export function alternativeNames(family: ModelFamily, name: string): string[] {
  return family === 'gpt2' && name.startsWith('transformer.') ? [name.slice('transformer.'.length)] : [];
}
