import { check } from '../core/errors.ts';
import { type GpuChoice, poolsFor, wholeBytes } from './placeGpu.ts';
import { shortfall } from './placement.ts';
import { spread } from './spread.ts';
import type { ChunkUse, StepModel } from './stepModel.ts';

export interface GpuShares {
  readonly gpuParameters: number;
  readonly gpuStates: number;
}

/** The static policy's GPU: states from the bottom up to their share, parameters evenly spread up to theirs. */
export function placeStaticOnGpu(model: StepModel, arenaBytes: number, shares: GpuShares): GpuChoice {
  for (const name of ['gpuParameters', 'gpuStates'] as const) {
    const share = shares[name];
    check(share >= 0 && share <= 1, `memory.policy: ${name} is a fraction between 0 and 1, got ${share}`);
  }
  check(
    shares.gpuStates === 0 || model.statesOnGpu,
    `memory.policy: gpuStates is ${shares.gpuStates}, and these states cannot be updated on the GPU: set it to 0`,
  );
  const resident = model.uses.map(() => false);
  const device = model.uses.map(() => false);
  let stateBytes = shares.gpuStates * total(model.uses, (use) => use.stateBytes);
  let parameterBytes = shares.gpuParameters * total(model.uses, (use) => use.parameterBytes);
  let own = 0;
  for (const use of model.uses) {
    if (use.parts === 0 || use.stateBytes > stateBytes) continue;
    stateBytes -= use.stateBytes;
    parameterBytes -= use.parameterBytes;
    own += wholeBytes(use, model.accumulates);
    resident[use.chunk.id] = true;
    device[use.chunk.id] = true;
  }
  for (const use of spread(model.uses.filter(({ chunk }) => !resident[chunk.id]))) {
    if (use.parameterBytes > parameterBytes) continue;
    parameterBytes -= use.parameterBytes;
    own += use.parameterBytes;
    resident[use.chunk.id] = true;
  }
  const pools = poolsFor(model, resident, device, arenaBytes - own);
  if (pools.bytes + own > arenaBytes) throw shortfall('gpu', 'the fractions asked for', pools.bytes + own, arenaBytes);
  return { resident, device, pools: pools.pools, bytes: own + pools.bytes };
}

const total = (uses: readonly ChunkUse[], size: (use: ChunkUse) => number): number =>
  uses.reduce((sum, use) => sum + size(use), 0);
