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

const tiedOf = <Model extends { readonly config: object }>(model: Model) => ({
  ...model,
  config: { ...model.config, tie_word_embeddings: true },
});

const gpt2 = {
  architecture: 'gpt2' as const,
  config: {
    n_embd: 32,
    n_layer: 3,
    n_head: 4,
    n_positions: 16,
    vocab_size: 264,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    tie_word_embeddings: false,
  },
};
const qwen = {
  architecture: 'qwen3' as const,
  config: {
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    head_dim: 8,
    num_key_value_heads: 2,
    vocab_size: 264,
    max_position_embeddings: 16,
    tie_word_embeddings: false,
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

const mixtral = {
  architecture: 'mixtral' as const,
  config: {
    ...qwen.config,
    num_local_experts: 4,
    num_experts_per_tok: 2,
    sliding_window: null,
    expert_capacity_factor: 1.25,
  },
};

/** Loads of 4 experts and a number do not divide over 4 ranks, which then receive different numbers of them. */
const evenly = { ...mixtral, config: { ...mixtral.config, router_aux_loss_coef: 0 } };

/** So does what ranks tell of 41 norms, but not of 40. */
const tied = tiedOf(evenly);

/** Bytes received by the rank at each place of the pipeline, as the counters name them. */
function expectedOf({ parts }: ClusterSummary): Record<string, number>[] {
  return parts.map(({ traffic }) => {
    const found: Record<string, number> = {};
    for (const { along, collective, bytes } of traffic) {
      const name = `${along.join('+')} ${collective}`;
      if (isCompared(name)) found[name] = (found[name] ?? 0) + bytes;
    }
    return found;
  });
}

/** Over the places of a pipeline other things than what a plan counts are told in sums and broadcasts: how it went. */
const isCompared = (name: string): boolean => !name.startsWith('pp') || name === 'pp receive';

async function compare(size: number, cases: readonly PlannedCase[]): Promise<void> {
  const all = await runRanks<Results>(size, 'scripts/planned.ts', { input: cases, timeoutSeconds: 60 });
  for (const { name, config } of cases) {
    const resolved = resolveConfig(config);
    const { machine, dtype } = machineFor(resolved, { described: {}, measure: false });
    const { summary, plans, layouts } = await planOn(resolved, { ...machine, device: 'cpu' }, dtype, { ranks: size });
    const expected = expectedOf(summary);
    for (const [rank, results] of all.entries()) {
      const { received, homes } = results[name]!;
      const { tp, sp, ep, pp } = summary.degrees as Record<string, number>;
      const at = Math.floor(rank / (tp! * sp! * ep!)) % pp!;
      const of = Object.fromEntries(Object.entries(received).filter(([name]) => isCompared(name)));
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

  it('and of 2 ranks that share sequences or experts', async () => {
    const tiers = { gpu: '64MiB', cpu: '64MiB', policy: 'static', static: { gpuParameters: 0.4 } } as const;
    const sequence = (mode: 'ring' | 'heads' | 'scores', changes: ConfigInput = {}) =>
      configOf({ ...changes, parallel: { sp: 2, sequence: mode, ...changes.parallel } });
    const recomputed = { activations: 'recompute' } as const;
    await compare(2, [
      ...(['ring', 'heads', 'scores'] as const).map((mode) => ({ name: `sp ${mode}`, config: sequence(mode) })),
      {
        name: 'sp ring, grouped heads, recomputed, zero 3, tiers',
        config: sequence('ring', { model: qwen, memory: { ...tiers, ...recomputed }, parallel: { zero: 3 } }),
      },
      {
        name: 'sp heads, one key head for all, recomputed',
        config: sequence('heads', {
          model: { ...qwen, config: { ...qwen.config, num_key_value_heads: 1 } },
          memory: recomputed,
        }),
      },
      { name: 'sp scores, zero 1', config: sequence('scores', { model: qwen, parallel: { zero: 1 } }) },
      { name: 'ep', config: configOf({ model: mixtral, parallel: { ep: 2 } }) },
      {
        name: 'ep, zero 3, recomputed, tiers',
        config: configOf({ model: mixtral, parallel: { ep: 2, zero: 3 }, memory: { ...tiers, ...recomputed } }),
      },
      { name: 'dp, experts everywhere', config: configOf({ model: mixtral, parallel: { zero: 2 } }) },
    ]);
  });

  it('and of 4 ranks on two axes', async () => {
    const tiers = { gpu: '64MiB', cpu: '64MiB', policy: 'static', static: { gpuParameters: 0.4 } } as const;
    await compare(4, [
      { name: 'zero 3 x tp', config: configOf({ parallel: { tp: 2, zero: 3 } }) },
      { name: '2d', config: configOf({ model: tiedOf(gpt2), parallel: { tp: 4, tensor: '2d' } }) },
      {
        name: '2d, head norms, recomputed, tiers',
        config: configOf({
          model: tiedOf(qwen),
          parallel: { tp: 4, tensor: '2d' },
          memory: { ...tiers, activations: 'recompute' },
        }),
      },
      { name: 'zero 3 x pp', config: configOf({ parallel: { pp: 2, zero: 3 }, memory: tiers }) },
      {
        name: 'zero 1 x interleaved',
        config: configOf({
          model: qwen,
          parallel: { pp: 2, zero: 1, pipeline: { schedule: 'interleaved' } },
          memory: tiers,
        }),
      },
      { name: 'zero 1 x sp', config: configOf({ parallel: { sp: 2, zero: 1 } }) },
      { name: 'sp x tp', config: configOf({ model: qwen, parallel: { sp: 2, tp: 2, sequence: 'scores' } }) },
      { name: 'sp x pp', config: configOf({ parallel: { sp: 2, pp: 2 } }) },
      { name: 'zero 1 x ep', config: configOf({ model: evenly, parallel: { ep: 2, zero: 1 }, memory: tiers }) },
      { name: 'zero 3 x ep', config: configOf({ model: evenly, parallel: { ep: 2, zero: 3 } }) },
      { name: 'ep x tp', config: configOf({ model: tied, parallel: { ep: 2, tp: 2 } }) },
      { name: 'ep x sp', config: configOf({ model: evenly, parallel: { ep: 2, sp: 2, zero: 2 } }) },
    ]);
  });

  it('and of 8 ranks with blocks', async () => {
    const model = tiedOf(gpt2);
    await compare(8, [
      { name: '2.5d', config: configOf({ model: tiedOf(qwen), parallel: { tp: 8, tensor: '2.5d', depth: 2 } }) },
      {
        name: '3d, recomputed',
        config: configOf({
          model: tiedOf(qwen),
          parallel: { tp: 8, tensor: '3d' },
          memory: { activations: 'recompute' },
        }),
      },
      { name: 'zero 1 x 2d', config: configOf({ model, parallel: { dp: 2, tp: 4, tensor: '2d', zero: 1 } }) },
      { name: 'pp x 2d', config: configOf({ model, parallel: { pp: 2, tp: 4, tensor: '2d' } }) },
    ]);
  });
});
