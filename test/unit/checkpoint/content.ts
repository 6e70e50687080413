import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type CheckpointContent,
  contentFile,
  copiedFile,
  type TensorEntry,
  tensorFiles,
} from '../../../src/engine/checkpoint/index.ts';

const shapes = { 'embed.weight': [16, 8], 'layer.0.weight': [8, 8], 'layer.1.weight': [8, 8], 'norm.weight': [8] };

/** The bytes of a tensor at a step: every byte depends on the name, the step and the position. */
export function bytesAt(name: string, step: number, length: number, offset = 0): Buffer {
  const seed = name.length * 31 + step * 7;
  return Buffer.from(Array.from({ length }, (_, i) => (seed + (offset + i) * 13) & 0xff));
}

function entries(step: number, prefix = ''): TensorEntry[] {
  return Object.entries(shapes).map(([name, shape]) => ({
    name: prefix + name,
    dtype: 'F32',
    shape,
    read: (into, byteOffset) => into.set(bytesAt(prefix + name, step, into.length, byteOffset)),
  }));
}

/** A checkpoint in miniature: sharded weights and moments, a configuration, a tokenizer copied from `tokenizer`. */
export function sampleContent(step: number, tokenizer: string): CheckpointContent {
  mkdirSync(dirname(tokenizer), { recursive: true });
  writeFileSync(tokenizer, '{"model":{}}');
  return {
    manifestFields: {
      config: { model: { width: 8 }, learningRate: 3e-4 },
      dataPosition: { epoch: 1, sample: step * 4, seed: 7 },
      random: { seed: 7 },
      schedule: { step },
      optimizer: { step, groups: [{ weightDecay: 0.1 }, { weightDecay: 0 }] },
      scaler: null,
      metrics: { loss: 2.5 },
    },
    files: [
      contentFile('model/config.json', { model_type: 'llama' }),
      copiedFile('model/tokenizer.json', tokenizer),
      tensorFiles('model', entries(step), { maxShardBytes: 600 }),
      tensorFiles('optimizer', [...entries(step, 'moment1.'), ...entries(step, 'moment2.')], { maxShardBytes: 1000 }),
    ],
  };
}
