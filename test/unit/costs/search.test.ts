/** What the mesh search proposes in cases whose answer is known beforehand. */
import { describe, expect, it } from 'vitest';
import { type Cluster, type ModelShape, parametersOf, proposeMesh, stepFlops } from '../../../src/dist/costs/index.ts';

const GB = 1e9;
const llama = (layers: number, hidden: number, heads: number, keyValueHeads: number, inner: number): ModelShape => ({
  layers,
  hidden,
  heads,
  keyValueHeads,
  inner,
  gated: true,
  vocabulary: 32_000,
  tied: false,
});
const small = llama(22, 2048, 32, 4, 5632); // 1.1B
const seven = llama(32, 4096, 32, 32, 11_008); // 6.7B
const seventy = llama(80, 8192, 64, 8, 28_672); // 69B

const cluster = (gpus: number, changes: Partial<Cluster> = {}): Cluster => ({
  gpus,
  gpusPerNode: 8,
  gpuBytes: 72 * GB,
  hostBytes: 0,
  flops: 400e12,
  nodeBandwidth: 300 * GB,
  networkBandwidth: 40 * GB,
  nodeLatency: 10e-6,
  networkLatency: 30e-6,
  hostUpdates: 1e9,
  ...changes,
});

describe('counting', () => {
  it('parameters of known models', () => {
    expect(parametersOf(small).total).toBeCloseTo(1.1e9, -8);
    expect(parametersOf(seven).total / 1e9).toBeCloseTo(6.74, 1);
    expect(parametersOf(seventy).total / 1e9).toBeCloseTo(69, 0);
  });

  it('operations: 6 per parameter and token, and attention', () => {
    const tokens = 4096;
    const { layer } = parametersOf(seven);
    const matmuls = 6 * tokens * (32 * layer + 32_000 * 4096);
    expect(stepFlops(seven, tokens, 2, false) / matmuls).toBeCloseTo(1, 3);
    expect(stepFlops(seven, tokens, 4096, true)).toBeGreaterThan(1.3 * matmuls);
  });
});

describe('the best mesh', () => {
  it('a model that fits is only copied', () => {
    const { best, reasons } = proposeMesh({ model: small, cluster: cluster(8), batch: 64, sequence: 2048 });
    expect(best.mesh).toMatchObject({ dp: 8, pp: 1, tp: 1, sp: 1, statesOnHost: false });
    expect(best.bubbleShare).toBe(0);
    expect(reasons[0]).toContain('dp 8 x pp 1 x tp 1 x sp 1 = 8 GPUs');
  });

  it('states that do not fit are divided before the model is', () => {
    const { best, reasons } = proposeMesh({ model: seven, cluster: cluster(8), batch: 64, sequence: 2048 });
    expect(best.mesh).toMatchObject({ dp: 8, pp: 1, tp: 1 });
    expect(best.mesh.zero).toBeGreaterThan(0);
    expect(best.memory.total).toBeLessThanOrEqual(72 * GB);
    expect(reasons.join(' ')).toContain('Whole copies of model and states do not fit');
  });

  it('a slow network keeps tensor groups in nodes and data exchange small', () => {
    const slow = cluster(32, { networkBandwidth: 3 * GB });
    const { best } = proposeMesh({ model: seventy, cluster: slow, batch: 256, sequence: 4096 });
    expect(best.mesh.tp).toBeLessThanOrEqual(8);
    expect(best.mesh.pp).toBeGreaterThan(1);
    expect(best.memory.total).toBeLessThanOrEqual(slow.gpuBytes);
    expect(best.mesh.dp * best.mesh.pp * best.mesh.tp * best.mesh.sp).toBe(32);
  });

  it('host memory lets one GPU train what would not fit', () => {
    const work = { model: seven, batch: 16, sequence: 2048 };
    expect(() => proposeMesh({ ...work, cluster: cluster(1) })).toThrow('no mesh of 1 GPUs fits');
    const { best } = proposeMesh({ ...work, cluster: cluster(1, { hostBytes: 128 * GB }) });
    expect(best.mesh.statesOnHost).toBe(true);
  });

  it('no proposal is slower than a runner-up, and all divide the GPUs', () => {
    for (const gpus of [2, 4, 8, 16, 64]) {
      const { best, runnersUp } = proposeMesh({
        model: seven,
        cluster: cluster(gpus, { hostBytes: 200 * GB }),
        batch: 128,
        sequence: 4096,
      });
      for (const { stepSeconds, mesh } of runnersUp) {
        expect(stepSeconds).toBeGreaterThanOrEqual(best.stepSeconds);
        expect(mesh.dp * mesh.pp * mesh.tp * mesh.sp).toBe(gpus);
      }
    }
  });

  it('a batch that cannot be shared out is refused with the reason', () => {
    const odd = { ...small, layers: 1, heads: 1, keyValueHeads: 1 };
    expect(() => proposeMesh({ model: odd, cluster: cluster(7), batch: 3, sequence: 128 })).toThrow(
      'no mesh divides 7 GPUs',
    );
  });

  it('one long sequence lies on several ranks, around which keys go while attention computes', () => {
    const work = { model: seven, cluster: cluster(8, { networkBandwidth: 300 * GB }), batch: 1, sequence: 131_072 };
    const { best, reasons } = proposeMesh({ ...work, sequenceModes: ['ring'] });
    expect(best.mesh).toMatchObject({ dp: 1, sequenceMode: 'ring' });
    expect(best.mesh.sp).toBeGreaterThan(1);
    expect(reasons.join()).toContain('keys and values go around');
    expect(proposeMesh({ ...work, sequenceModes: [] }).best.mesh.sp).toBe(1);
    expect(proposeMesh({ ...work, sequenceModes: [] }).best.stepSeconds).toBeGreaterThan(best.stepSeconds);
  });

  it('experts are spread where copies of them do not fit', () => {
    const mixture: ModelShape = { ...llama(32, 4096, 32, 8, 14_336), experts: { count: 8, perToken: 2 } };
    expect(parametersOf(mixture).total / 1e9).toBeCloseTo(46.7, 0);
    const active = stepFlops(mixture, 1, 2, false) / 6e9;
    expect(active).toBeGreaterThan(12);
    expect(active).toBeLessThan(13.5);
    // In nodes of one GPU there is no tensor group.
    const proposed = proposeMesh({
      model: mixture,
      batch: 64,
      sequence: 4096,
      sequenceModes: [],
      cluster: cluster(64, { gpusPerNode: 1, networkBandwidth: 300 * GB }),
    });
    expect(proposed.best.mesh.ep).toBeGreaterThan(1);
    expect(proposed.reasons.join()).toContain('Experts lie on');
  });
});
