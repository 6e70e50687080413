/** ZeRO 3 over tiers: each unit is gathered before the one ahead of it computes, forward and backward; told by the order of events. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { settings } from '../native/engineSupport.ts';
import { runRanks } from './ranks.ts';
import type { OrderCase, OrderResults } from './scripts/gatherOrder.ts';

/** Embedding and head are of other sizes than blocks, and than each other. */
const model = {
  architecture: 'gpt2' as const,
  config: {
    n_embd: 32,
    n_layer: 4,
    n_head: 4,
    n_positions: 1024,
    vocab_size: 264,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    tie_word_embeddings: false,
  },
};

const configOf = (memory: ConfigInput['memory'], accumulate = 1): ConfigInput =>
  settings({
    ...{ precision: 'fp32', model, data: { sequenceLength: 8 }, parallel: { zero: 3 } },
    ...{ train: { batchSize: 2, accumulate }, memory },
  } as ConfigInput);

describe.skipIf(!nativeIsBuilt())('ZeRO 3 over tiers', { timeout: 600_000 }, () => {
  it('gathers the next unit before the one at work computes, in both passes', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tierra-order-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const host = { gpu: '64MiB', cpu: '64MiB', policy: 'static', static: { gpuParameters: 0 } } as const;
    const disk = { ...host, nvme: { path: folder, size: '64MiB' }, static: { hostParameters: 0.3 } } as const;
    const cases: OrderCase[] = [
      { name: 'kept', config: configOf(host) },
      { name: 'recomputed', config: configOf({ ...host, activations: 'recompute' }) },
      { name: 'disk', config: configOf(disk) },
      { name: 'two micro-batches', config: configOf({ ...host, accumulation: 'horizontal' }, 2) },
      { name: 'vertical', config: configOf({ ...host, accumulation: 'vertical' }, 2) },
    ];
    const all = await runRanks<OrderResults>(2, 'scripts/gatherOrder.ts', { input: cases, timeoutSeconds: 100 });
    for (const { name } of cases) {
      const events = all[0]![name]!;
      // The same order on all ranks: otherwise collectives would not meet.
      expect(all[1]![name], name).toEqual(events);
      const at = (event: string, from = 0): number => events.indexOf(event, from);
      const turn = at('backward head');
      // The embedding is the largest unit, and the last in backward.
      const sizes = events.filter((event) => event.startsWith('gather ')).map((event) => Number(event.slice(7)));
      const largest = `gather ${Math.max(...sizes)}`;
      expect(at(largest), name).toBeLessThan(at('forward embedding'));
      const again = at(largest, turn);
      expect(again, `${name}: ${events.join(', ')}`).toBeGreaterThan(at('backward blocks.1'));
      expect(again, `${name}: ${events.join(', ')}`).toBeLessThan(at('backward blocks.0'));
      // Forward: the head's gathers come before the last block computes.
      const headGathers = events.slice(at('forward blocks.2'), at('forward blocks.3')).filter(isGather);
      expect(headGathers, name).not.toEqual([]);
      expect(events.slice(at('forward blocks.3'), at('forward head')).filter(isGather), name).toEqual([]);
      // Backward: between two units a unit's gradients are reduced and the next but one gathered.
      const between = events.slice(at('backward blocks.2') + 1, at('backward blocks.1'));
      const reduced = between.findLastIndex((event) => event.startsWith('reduce '));
      expect(between.findIndex(isGather), `${name}: ${events.join(', ')}`).toBeGreaterThan(reduced);
    }
  });
});

const isGather = (event: string): boolean => event.startsWith('gather ');
