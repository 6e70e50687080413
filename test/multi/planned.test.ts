/** What `tierra plan` says of several ranks, against what those ranks count: bytes of each tier, and bytes from others. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../src/config/index.ts';
import { type ClusterSummary, planOn } from '../../src/engine/planCluster.ts';
import { machineFor } from '../../src/engine/planEstimate.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { summarizePlan } from '../../src/offload/chunked/reportPlan.ts';
import { settings } from '../native/engineSupport.ts';
import { runRanks } from './ranks.ts';
import type { PlannedCase, PlannedResult } from './scripts/planned.ts';

type Results = Readonly<Record<string, PlannedResult>>;

const gpt2 = {
  architecture: 'gpt2' as const,
  config: {
    ...{ n_embd: 32, n_layer: 3, n_head: 4, n_positions: 16, vocab_size: 264 },
    ...{ resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, tie_word_embeddings: false },
  },
};
const qwen = {
  architecture: 'qwen3' as const,
  config: {
    ...{ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, head_dim: 8 },
    ...{ num_key_value_heads: 2, vocab_size: 264, max_position_embeddings: 16, tie_word_embeddings: false },
  },
};

const configOf = (changes: ConfigInput): ConfigInput =>
  settings({
    precision: 'fp32',
    model: gpt2,
    data: { sequenceLength: 8 },
    ...changes,
    train: { batchSize: 4, accumulate: 2, clipNorm: 1, ...changes.train },
  } as ConfigInput);

/** Bytes received by the rank at each place of the pipeline, as the counters name them. */
function expectedOf({ parts }: ClusterSummary): Record<string, number>[] {
  const names = {
    ...{ 'tp activations': 'tp allReduce', 'tp norms': 'tp allReduce' },
    ...{ 'pp stage edges': 'pp receive', 'pp tied gradients': 'pp receive' },
  } as Record<string, string>;
  return parts.map(({ traffic }) => {
    const found: Record<string, number> = {};
    for (const { axis, what, bytes } of traffic) {
      // Over the places of a pipeline norms have a collective that other things have too.
      if (axis === 'pp' && what === 'norms') continue;
      const name = names[`${axis} ${what}`] ?? (what === 'gradients' ? 'dp reduceScatter' : 'dp allGather');
      found[name] = (found[name] ?? 0) + bytes;
    }
    return found;
  });
}

const counted = ['tp allReduce', 'pp receive', 'dp reduceScatter', 'dp allGather'];

async function compare(size: number, cases: readonly PlannedCase[]): Promise<void> {
  const all = await runRanks<Results>(size, 'scripts/planned.ts', { input: cases, timeoutSeconds: 60 });
  for (const { name, config } of cases) {
    const resolved = resolveConfig(config);
    const { machine, dtype } = machineFor(resolved, { described: {}, measure: false });
    const { summary, plans, layouts } = await planOn(resolved, { ...machine, device: 'cpu' }, dtype, { ranks: size });
    const expected = expectedOf(summary);
    for (const [rank, results] of all.entries()) {
      const { received, homes } = results[name]!;
      const at = Math.floor(rank / summary.degrees.tp!) % summary.degrees.pp!;
      const of = Object.fromEntries(
        counted.filter((key) => received[key] !== undefined).map((key) => [key, received[key]]),
      );
      expect(of, `${name}, rank ${rank}`).toEqual(expected[at]);
      if (homes === null) continue;
      const { parameters, states } = summarizePlan(plans[at]!, layouts[at]!);
      expect({ parameters, states }, `${name}, rank ${rank}`).toEqual(homes);
    }
  }
}

describe.skipIf(!nativeIsBuilt())('tierra plan of several ranks', { timeout: 600_000 }, () => {
  it('counts the bytes that 2 ranks receive and keep', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tierra-planned-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const disk = {
      ...{ gpu: '64MiB', cpu: '64MiB', nvme: { path: folder, size: '64MiB' }, policy: 'static' as const },
      static: { gpuParameters: 0.3, gpuStates: 0.2, hostParameters: 0.5, hostStates: 0.4 },
    } as const;
    await compare(2, [
      { name: 'zero 1', config: configOf({ parallel: { zero: 1 } }) },
      { name: 'zero 3', config: configOf({ parallel: { zero: 3 } }) },
      { name: 'zero 2, reduced last', config: configOf({ parallel: { zero: 2, reduce: 'last' } }) },
      {
        name: 'zero 3, recomputed, tiers',
        config: configOf({ parallel: { zero: 3 }, memory: { ...disk, activations: 'recompute' } }),
      },
      {
        name: 'zero 3, tiers, horizontal',
        config: configOf({ parallel: { zero: 3 }, memory: { ...disk, accumulation: 'horizontal' } }),
      },
      { name: 'tp', config: configOf({ parallel: { tp: 2 } }) },
      {
        name: 'tp, head norms, recomputed, tiers',
        config: configOf({ model: qwen, parallel: { tp: 2 }, memory: { ...disk, activations: 'recompute' } }),
      },
      { name: 'pp, tiers', config: configOf({ parallel: { pp: 2 }, memory: disk }) },
      {
        name: 'pp, tied',
        config: configOf({
          model: { ...gpt2, config: { ...gpt2.config, tie_word_embeddings: true } },
          parallel: { pp: 2 },
        }),
      },
    ]);
  });

  it('and of 4 ranks on two axes', async () => {
    const tiers = { gpu: '64MiB', cpu: '64MiB', policy: 'static', static: { gpuParameters: 0.4 } } as const;
    await compare(4, [
      { name: 'zero 3 x tp', config: configOf({ parallel: { tp: 2, zero: 3 } }) },
      { name: 'zero 3 x pp', config: configOf({ parallel: { pp: 2, zero: 3 }, memory: tiers }) },
      {
        name: 'zero 1 x interleaved',
        config: configOf({
          model: qwen,
          parallel: { pp: 2, zero: 1, pipeline: { schedule: 'interleaved' } },
          memory: tiers,
        }),
      },
    ]);
  });
});
