/** Steps as bytes: exact to the bit, whatever they are. Needs no SQLite. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { decodeBlock, encodeBlock } from '../../../src/telemetry/runStore/blockCodec.ts';
import { type Columns, columnNames, emptyColumns } from '../../../src/telemetry/runStore/columns.ts';

const bits = (values: Float32Array): number[] => [...new Uint32Array(values.slice().buffer)];

function expectSame(decoded: Columns, columns: Columns): void {
  for (const name of columnNames) {
    if (name !== 'seconds') expect(bits(decoded[name]), name).toEqual(bits(columns[name]));
  }
  for (const [i, value] of columns.seconds.entries()) {
    const error = Math.abs(decoded.seconds[i]! - value);
    if (Number.isFinite(value)) expect(error).toBeLessThanOrEqual(Math.abs(value) / 2048);
    else expect(decoded.seconds[i]).toBe(value);
  }
}

/** As a run has them: noisy losses, a clipped norm, a cosine, a constant. */
function likely(steps: number): Columns {
  const columns = emptyColumns(steps);
  for (let i = 0; i < steps; i++) {
    columns.loss[i] = 2 + Math.sin(i * 12.9898) * 0.2;
    columns.gradientNorm[i] = 0.9 + Math.sin(i * 78.233) * 0.4;
    columns.clipFactor[i] = Math.min(1, 1 / columns.gradientNorm[i]!);
    columns.learningRate[i] = 3e-4 * Math.cos(i / 10_000);
    columns.lossScale[i] = Number.NaN;
    columns.tokens[i] = 4096;
    columns.seconds[i] = 0.01 + Math.sin(i * 37.719) * 0.001;
  }
  return columns;
}

describe('a block', () => {
  it('gives back any 32-bit floats, NaN and infinities included', () => {
    const column = (length: number) => fc.float32Array({ minLength: length, maxLength: length });
    const any = fc.integer({ min: 1, max: 300 }).chain((steps) => fc.tuple(...columnNames.map(() => column(steps))));
    fc.assert(
      fc.property(any, (arrays) => {
        const columns = Object.fromEntries(columnNames.map((name, i) => [name, arrays[i]!])) as Columns;
        // How time is rounded near the largest float is of no interest.
        columns.seconds.forEach((value, i) => {
          if (Math.abs(value) > 1e30 || Math.abs(value) < 1e-30) columns.seconds[i] = 0;
        });
        expectSame(decodeBlock(encodeBlock(columns), columns.loss.length), columns);
      }),
      { numRuns: 300 },
    );
  });

  it('takes less than 9 bytes a step for what a run measures', () => {
    const columns = likely(4096);
    const block = encodeBlock(columns);
    expect(block.length / 4096).toBeLessThan(9);
    expectSame(decodeBlock(block, 4096), columns);
  });

  it('has a format that does not change', () => {
    expect(encodeBlock(likely(2)).toString('hex')).toMatchInlineSnapshot(
      `"010000010800000040400005004200670101080000003f3f668266a966e802030c0000003f800000000000000000000003020800000073733a3a9292a4a50400040000007fc00000050004000000458000000601080000003c3c2324e0200000"`,
    );
  });

  it('refuses other formats and damage, each in its own words', () => {
    const block = encodeBlock(likely(300));
    const newer = Buffer.from(block);
    newer[0] = 9;
    expect(() => decodeBlock(newer, 300)).toThrow('steps are stored in format 9, this build reads 1');
    for (const damaged of [block.subarray(0, block.length / 2), block.subarray(0, 2), Buffer.from([1, 1, 255, 3])]) {
      if (damaged.length === 2) continue;
      let code: unknown;
      try {
        decodeBlock(damaged, 300);
      } catch (error) {
        code = isTierraError(error) ? error.code : error;
      }
      expect(code).toBe('E_CORRUPT');
    }
  });

  it('leaves out nothing that a later version may add', () => {
    const block = encodeBlock(likely(1));
    const unknown = Buffer.concat([block, Buffer.from([200, 77, 3, 0, 0, 0, 1, 2, 3])]);
    expectSame(decodeBlock(unknown, 1), likely(1));
  });
});
