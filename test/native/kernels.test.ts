/** The CUDA kernels without a GPU: NVRTC compiles each for every architecture we name; their bodies give the scalar bits. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../src/core/errors.ts';
import { native } from '../../src/native/load.ts';
import { compilerIsHere, runHostProgram } from './hostProgram.ts';
import { findNvrtc } from './kernelsSupport.ts';
import { once } from './once.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const architectures = ['sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_100', 'sm_120'];

it('carries every kernel file', () => {
  const files = readdirSync(path.join(root, 'native/kernels')).filter((name) => name.endsWith('.cu'));
  expect(native().kernelNames().sort()).toEqual(files.sort());
});

describe('NVRTC', () => {
  const nvrtc = findNvrtc();
  if (typeof nvrtc !== 'string') {
    it.skip(`skipped: ${nvrtc.reason}`, () => {});
    return;
  }
  process.env.TIERRA_NVRTC = nvrtc;

  it.each(architectures)('compiles every kernel for %s', (arch) => {
    once(`kernels for ${arch} by ${nvrtc}`, () => {
      const compiled = native().compileKernels(arch);
      expect(compiled.map(({ name }) => name)).toEqual(native().kernelNames());
      for (const { bytes } of compiled) expect(bytes).toBeGreaterThan(1000);
    });
  });

  it('says what it was asked and what it knows when it cannot', () => {
    try {
      native().compileKernels('sm_1');
      expect.fail('compiled for sm_1');
    } catch (error) {
      if (!isTierraError(error, 'E_INTERNAL')) throw error;
      expect(error.message).toContain('sm_1');
      expect(error.hint).toMatch(/sm_\d+ to sm_\d+/);
    }
  });
});

describe('the kernels’ bodies on the host', () => {
  it.skipIf(!compilerIsHere)(
    'give the scalar reference’s bits for every rule, type, alignment and awkward number',
    () => {
      expect(runHostProgram('kernelsHost', ['optim/scalar', 'optim/update', 'optim/pool', 'cuda/chunkPieces'])).toMatch(
        /^compared [1-9]\d{3,}, different 0\n$/,
      );
    },
  );

  it.skipIf(!compilerIsHere)('of layers are near fp64, forward and backward', () => {
    expect(runHostProgram('kernelsFusedHost', [])).toMatch(/^compared [1-9]\d{3,}, different 0\n$/);
  });

  it.skipIf(!compilerIsHere)('are kept on disk once compiled, and damaged files count as none', () => {
    expect(runHostProgram('cubinCacheHost', ['cuda/cubinCache', 'io/checksum'])).toBe('done\n');
  });
});

describe('many tensors in one call', () => {
  const addon = native();
  const floats = (values: readonly number[]) => addon.fromBytes(bytesOf(values), [values.length], 6);
  const bytesOf = (values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
  const group = {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0.1,
    biasCorrection1: 0.1,
    biasCorrection2: 0.001,
    momentum: 0,
    nesterov: false,
  };
  const update = (values: readonly number[]) => ({
    gradient: floats(values.map((x) => x / 3)),
    master: floats(values),
    m: floats(values.map(() => 0)),
    v: floats(values.map(() => 0)),
    parameterOut: null,
  });
  const read = (tensor: ReturnType<typeof floats>) => {
    const into = new Uint8Array(4 * addon.info(tensor).shape[0]!);
    addon.readBytes(tensor, into);
    return into;
  };

  it('updates each with its own group, as single calls do', () => {
    const inputs = [[1, 2, 3], [4], [-5, 6]];
    const groups = [group, { ...group, weightDecay: 0 }];
    const groupOf = [1, 0, 1];
    const [many, single] = [inputs.map(update), inputs.map(update)];
    addon.optimizerUpdateMany('adamw', groups, groupOf, 0.5, many, 1);
    single.forEach((tensors, i) => {
      addon.optimizerUpdate('adamw', groups[groupOf[i]!]!, 0.5, tensors, 1);
    });
    for (const key of ['master', 'm', 'v'] as const) {
      expect(many.map((tensors) => read(tensors[key]))).toEqual(single.map((tensors) => read(tensors[key])));
    }
    expect(read(many[0]!.master)).not.toEqual(bytesOf(inputs[0]!));
  });

  it('refuses a group that is not there before it writes anything', () => {
    const tensors = [update([1, 2]), update([3])];
    expect(() => addon.optimizerUpdateMany('adamw', [group], [0, 1], 1, tensors, 1)).toThrow(/group 1 of 1/);
    expect(() => addon.optimizerUpdateMany('adamw', [group], [0], 1, tensors, 1)).toThrow(/1 groups for 2 updates/);
    expect(read(tensors[0]!.master)).toEqual(bytesOf([1, 2]));
  });

  it('gives one norm per tensor', () => {
    const tensors = [[3, 4], [], [Number.NaN, 1, Number.POSITIVE_INFINITY]].map(floats);
    expect(addon.sumSquaresMany(tensors, 1)).toEqual(tensors.map((tensor) => addon.sumSquares(tensor, 1)));
    expect(addon.sumSquaresMany(tensors, 1)[0]).toEqual({ sum: 25, nonFinite: 0 });
    expect(addon.sumSquaresMany([], 1)).toEqual([]);
  });

  it('gives the same norms as bytes of one tensor, which on a GPU nothing waits for', () => {
    const tensors = [[3, 4], [], [Number.NaN, 1, Number.POSITIVE_INFINITY]].map(floats);
    const bytes = new Uint8Array(16 * tensors.length);
    addon.readBytes(addon.sumSquaresStart(tensors, 1), bytes);
    const view = new DataView(bytes.buffer);
    const found = tensors.map((_, index) => ({
      sum: view.getFloat64(16 * index, true),
      nonFinite: Number(view.getBigUint64(16 * index + 8, true)),
    }));
    expect(found).toEqual(addon.sumSquaresMany(tensors, 1));
  });

  it('gives the block sums that the norms are made of', () => {
    const values = Array.from({ length: 9000 }, (_, index) => Math.sin(index) * (index % 7));
    values[4096] = Number.NaN;
    const tensors = [values.slice(0, 4097 - 1), [], values, [3, 4]].map(floats);
    const blocks = [1, 0, 3, 1];
    const bytes = new Uint8Array(12 * 5);
    addon.readBytes(addon.sumSquareBlocksStart(tensors, 2), bytes);
    const view = new DataView(bytes.buffer);
    let block = 0;
    const found = blocks.map((count) => {
      let [sum, nonFinite] = [0, 0];
      for (const end = block + count; block < end; block++) {
        sum += view.getFloat64(8 * block, true);
        nonFinite += view.getUint32(8 * 5 + 4 * block, true);
      }
      return { sum, nonFinite };
    });
    expect(found).toEqual(addon.sumSquaresMany(tensors, 1));
    expect(found[2]!.nonFinite).toBe(1);
  });
});
