/**
 * Ways to place one model on the three tiers, and how to tell from a plan that it really was placed like that.
 * Budgets are shares of what the model takes when all of it is on the GPU, so that they fit any model and element type.
 */
import { expect } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import type { Plan, UpdateMode } from '../../src/memory/plan.ts';
import type { Tier } from '../../src/memory/types.ts';

export type MemoryInput = NonNullable<ConfigInput['memory']>;

/** What a model takes in one order of its micro-batches: measured by planning it with room for everything. */
export interface OrderBytes {
  /** Activations, workspace and all else that is no chunk. */
  readonly other: number;
  /** Parameters, states and sums of gradients of all chunks. */
  readonly chunks: number;
  /** Host memory without which nothing works beside a tight GPU, however large the disk. */
  readonly leastHost: number;
}

/** In the horizontal order, and in the vertical one where that is possible. */
export interface ModelBytes extends OrderBytes {
  readonly vertical: OrderBytes | null;
}

export interface PlacementCase {
  readonly name: string;
  /** Only for several micro-batches of a model that is a sequence of units. */
  readonly vertical?: boolean;
  /** `folder` is for swap files. */
  memory(bytes: ModelBytes, folder: string): MemoryInput;
  /** Fails unless `plan` is what the name says. */
  check(plan: Plan): void;
}

const ample = '1GiB';
export const tightGpu = ({ other, chunks }: OrderBytes): number => other + Math.round(0.25 * chunks);
/** Sums of gradients of all micro-batches come back with a unit's parameters: the largest unit needs more room. */
export const verticalGpu = ({ other, chunks }: OrderBytes): number => other + Math.round(0.35 * chunks);
const swap = (folder: string) => ({ path: folder, size: ample });

/** How many trainable chunks have their parameters, their states, on `tier`, or are updated in `mode`. */
export const homesOn = (plan: Plan, tier: Tier): number =>
  plan.chunks.filter(({ parameterHome, update }) => update !== 'none' && parameterHome === tier).length;
export const statesOn = (plan: Plan, tier: Tier): number =>
  plan.chunks.filter((chunk) => chunk.stateHome === tier).length;
export const updatesBy = (plan: Plan, mode: UpdateMode): number =>
  plan.chunks.filter(({ update }) => update === mode).length;
const trained = (plan: Plan): number => plan.chunks.length - updatesBy(plan, 'none');

export const placements: readonly PlacementCase[] = [
  {
    name: 'chunks, all on the GPU',
    memory: () => ({ gpu: ample, cpu: ample }),
    check(plan) {
      expect(updatesBy(plan, 'device')).toBe(trained(plan));
      expect(plan.tickets).toEqual([]);
    },
  },
  {
    name: 'tight GPU',
    memory: (bytes) => ({ gpu: tightGpu(bytes), cpu: ample, speculate: 'always' }),
    check(plan) {
      expect(homesOn(plan, 'host')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(updatesBy(plan, 'speculated')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(plan.arenaBytes.nvme).toBe(0);
    },
  },
  {
    name: 'tight GPU and CPU',
    memory: (bytes) => ({ gpu: tightGpu(bytes), cpu: Math.round(bytes.leastHost / 2 + bytes.chunks) }),
    check(plan) {
      expect(homesOn(plan, 'host')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(updatesBy(plan, 'deferred')).toBeGreaterThan(0);
      expect(plan.arenaBytes.nvme).toBe(0);
    },
  },
  {
    name: 'states on disk',
    memory: (bytes, folder) => ({
      gpu: tightGpu(bytes),
      cpu: Math.round((bytes.leastHost + bytes.chunks) / 2),
      nvme: swap(folder),
    }),
    check(plan) {
      expect(statesOn(plan, 'nvme')).toBeGreaterThan(0);
      expect(homesOn(plan, 'host')).toBeGreaterThan(0);
    },
  },
  {
    name: 'parameters and states mostly on disk',
    memory: (bytes, folder) => ({
      gpu: tightGpu(bytes),
      cpu: bytes.leastHost,
      nvme: swap(folder),
    }),
    check(plan) {
      expect(statesOn(plan, 'nvme')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(homesOn(plan, 'nvme')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(plan.tickets.some(({ cause }) => cause === 'home')).toBe(true);
    },
  },
  {
    name: 'static',
    memory: (bytes, folder) => ({
      gpu: bytes.other + Math.round(0.7 * bytes.chunks),
      cpu: ample,
      nvme: swap(folder),
      policy: 'static',
      static: { gpuParameters: 0.4, gpuStates: 0.3, hostParameters: 0.5, hostStates: 0.5 },
    }),
    check(plan) {
      expect(plan.policy).toBe('static');
      expect(updatesBy(plan, 'device')).toBeGreaterThan(0);
      expect(plan.chunks.some(({ resident, update }) => resident && update !== 'device')).toBe(true);
      for (const tier of ['host', 'nvme'] as const) expect(statesOn(plan, tier)).toBeGreaterThan(0);
      expect(homesOn(plan, 'nvme')).toBeGreaterThan(0);
    },
  },
  {
    name: 'parameters ahead of their states',
    memory: ({ chunks }) => ({
      gpu: ample,
      cpu: Math.round(1.25 * chunks) + 64 * 1024,
      policy: 'static',
      static: { gpuParameters: 0, gpuStates: 0, hostParameters: 1, hostStates: 1 },
      speculate: 'always',
    }),
    check(plan) {
      expect(statesOn(plan, 'host')).toBe(trained(plan));
      const least = plan.types.states === 'compressed' ? 0 : trained(plan) / 2;
      expect(updatesBy(plan, 'previewed')).toBeGreaterThanOrEqual(least);
      const always = plan.tickets.filter(
        ({ cause, unlessGuessed }) => cause === 'preview' && unlessGuessed === undefined,
      );
      expect(always).toHaveLength(updatesBy(plan, 'previewed'));
    },
  },
  {
    name: 'lru',
    memory: (bytes) => ({ gpu: tightGpu(bytes), cpu: ample, policy: 'lru' }),
    check(plan) {
      expect(plan.policy).toBe('lru');
      expect(homesOn(plan, 'host')).toBeGreaterThanOrEqual(trained(plan) / 2);
      expect(plan.tickets.some(({ cause }) => cause === 'fetch')).toBe(true);
    },
  },
  {
    name: 'vertical',
    vertical: true,
    memory: ({ vertical }) => ({ gpu: verticalGpu(vertical!), cpu: ample, accumulation: 'vertical' }),
    check(plan) {
      expect(plan.moments.filter(({ pass }) => pass === 'forward').every(({ microBatch }) => microBatch < 0)).toBe(
        true,
      );
      expect(homesOn(plan, 'host')).toBeGreaterThanOrEqual(trained(plan) / 2);
    },
  },
  {
    name: 'vertical, states on disk',
    vertical: true,
    memory: ({ vertical }, folder) => ({
      gpu: verticalGpu(vertical!),
      cpu: Math.round(1.03 * vertical!.leastHost),
      nvme: swap(folder),
      accumulation: 'vertical',
    }),
    check(plan) {
      expect(plan.moments.filter(({ pass }) => pass === 'forward').every(({ microBatch }) => microBatch < 0)).toBe(
        true,
      );
      expect(statesOn(plan, 'nvme')).toBeGreaterThan(0);
    },
  },
];

/** The placements for so many micro-batches of such a model. */
export const placementsFor = (microBatches: number, isSequence: boolean): readonly PlacementCase[] =>
  placements.filter(({ vertical = false }) => !vertical || (microBatches > 1 && isSequence));

export function placementNamed(name: string): PlacementCase {
  const found = placements.find((placement) => placement.name === name);
  if (found === undefined) throw new Error(`no placement is called ${name}`);
  return found;
}
