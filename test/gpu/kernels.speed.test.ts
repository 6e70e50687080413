/** Bytes per second of the optimizer's kernels beside libtorch's own copy, printed and not judged: run by scripts/gpu-check.sh. */
import { expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { type Dtype, noGrad, ops, scope } from '../../src/tensor/index.ts';
import { group } from '../native/optimPatterns.ts';
import { device } from './kernelsSupport.ts';

const count = 1 << 27;
const rounds = 20;

if (typeof device !== 'string') {
  it.skip(`skipped: ${device.reason}`, () => {});
} else {
  it('prints what the kernels move per second', () => {
    const addon = native();
    const where = device as string;
    const lines: string[] = [];
    /** The median of several rounds, the device waited for in each. */
    const measure = (what: string, bytesMoved: number, body: () => void): void => {
      const milliseconds: number[] = [];
      for (let round = -3; round < rounds; round++) {
        addon.synchronize(where);
        const started = performance.now();
        body();
        addon.synchronize(where);
        if (round >= 0) milliseconds.push(performance.now() - started);
      }
      const median = milliseconds.sort((a, b) => a - b)[rounds / 2]!;
      lines.push(
        `${what.padEnd(44)} ${(bytesMoved / median / 1e6).toFixed(0).padStart(6)} GB/s, ${median.toFixed(2)} ms`,
      );
    };
    scope(() =>
      noGrad(() => {
        const made = (dtype: Dtype) => ops.zeros([count], { dtype, device: where });
        const [gradient, parameter] = [made('bfloat16'), made('bfloat16')];
        const [master, m, v] = [made('float32'), made('float32'), made('float32')];
        ops.normalInPlace(gradient, 0, 1);
        measure('copy fp32 (libtorch)', 8 * count, () => ops.copyInto(m, v));
        const tensors = {
          gradient: gradient.handle,
          master: master.handle,
          m: m.handle,
          v: v.handle,
          parameterOut: parameter.handle,
        };
        measure('AdamW, bf16 gradient and parameter', 28 * count, () => {
          addon.optimizerUpdate('adamw', group(), 1, tensors, 1);
        });
        measure('squared norm of bf16', 2 * count, () => addon.sumSquares(gradient.handle, 1));
        const parts = Array.from({ length: 256 }, (_, i) =>
          ops.slice(gradient, 0, (i * count) / 256, ((i + 1) * count) / 256),
        );
        const handles = parts.map((part) => part.handle);
        measure('squared norm of bf16, 256 tensors', 2 * count, () => addon.sumSquaresMany(handles, 1));
        measure('squared norm of fp32', 4 * count, () => addon.sumSquares(m.handle, 1));
        measure('accumulate bf16 into fp32', 10 * count, () => addon.accumulate(m.handle, gradient.handle, 1, 1));
        measure('cast fp32 to bf16', 6 * count, () => addon.castInto(parameter.handle, m.handle, 1));
      }),
    );
    console.log(lines.join('\n'));
    expect(lines.length).toBe(7);
  });
}
