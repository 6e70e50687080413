import { TierraError } from '../../core/errors.ts';
import type { AttentionOptions } from '../../nn/index.ts';

type Feature = 'dropout' | 'window' | 'alibi' | 'mask';

const words: Readonly<Record<Feature, string>> = {
  dropout: 'dropout of attention weights',
  window: 'a sliding window',
  alibi: 'ALiBi',
  mask: 'an explicit mask',
};

const hints: Readonly<Record<Feature, string>> = {
  dropout: 'Set attention dropout to 0, or use the mode "heads" or "scores".',
  window: 'Use the mode "heads" or "scores".',
  alibi: 'Use the mode "scores".',
  mask: 'Cut sequences instead of masking them.',
};

/** Throws `E_UNSUPPORTED` when `options` ask for what a mode of sequence parallelism cannot do. */
export function refuseOptions(mode: string, options: AttentionOptions, features: readonly Feature[]): void {
  for (const feature of features) {
    if (!options[feature]) continue;
    throw new TierraError('E_UNSUPPORTED', `sequence parallelism by "${mode}" has no ${words[feature]}`, {
      hint: hints[feature],
    });
  }
}
