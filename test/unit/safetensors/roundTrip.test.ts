import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  openSafetensors,
  openSafetensorsFolder,
  SafetensorsWriter,
  ShardedSafetensorsWriter,
  safetensorsDtypes,
  type TensorDeclaration,
  tensorBytes,
} from '../../../src/tensor/safetensors/index.ts';
import { messageOf, scratchFolder } from './scratch.ts';

const name = fc
  .oneof(fc.string({ maxLength: 12, unit: 'binary' }), fc.constantFrom('__proto__', '', 'constructor', 'a.b.0.weight'))
  .filter((text) => text !== '__metadata__');
const tensors: fc.Arbitrary<TensorDeclaration[]> = fc.uniqueArray(
  fc.record({
    name,
    dtype: fc.constantFrom(...safetensorsDtypes),
    shape: fc.array(fc.nat(5), { maxLength: 4 }),
  }),
  { maxLength: 12, selector: (tensor) => tensor.name },
);

/** Bytes that depend on the tensor and the position, so that no mix-up goes unseen. */
function contentOf({ name, dtype, shape }: TensorDeclaration): Buffer {
  const seed = createHash('sha256').update(name).digest();
  return Buffer.from(Array.from({ length: tensorBytes(dtype, shape)! }, (_, i) => seed[i % 32]! ^ (i >> 5)));
}

function writeInPieces(
  writer: Pick<SafetensorsWriter, 'layout' | 'write'>,
  declared: readonly TensorDeclaration[],
  pieceBytes: number,
): void {
  const byName = new Map(declared.map((tensor) => [tensor.name, tensor]));
  for (const name of writer.layout) {
    const content = contentOf(byName.get(name)!);
    for (let at = 0; at < content.length; at += pieceBytes) {
      writer.write(name, content.subarray(at, at + pieceBytes), at);
    }
  }
}

describe('round trips of random layouts', () => {
  test('one file', { timeout: 60_000 }, () => {
    const folder = scratchFolder();
    const alignments = fc.constantFrom(8, 64, 4096);
    fc.assert(
      fc.property(tensors, fc.integer({ min: 1, max: 300 }), alignments, (declared, pieceBytes, dataAlignment) => {
        const path = join(mkdtempSync(join(folder, 'run-')), 'x.safetensors');
        using writer = new SafetensorsWriter(path, declared, { dataAlignment });
        writeInPieces(writer, declared, pieceBytes);
        const written = writer.finish();
        expect(written.bytes).toBe(statSync(path).size);
        expect(written.sha256).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'));

        using file = openSafetensors(path);
        expect(file.dataStart % dataAlignment).toBe(0);
        expect(new Set(file.names())).toEqual(new Set(declared.map((tensor) => tensor.name)));
        for (const tensor of declared) {
          const { bytes, ...info } = file.info(tensor.name);
          expect(info).toEqual({ dtype: tensor.dtype, shape: tensor.shape });
          const into = Buffer.alloc(bytes);
          file.readInto(tensor.name, into);
          expect(into.equals(contentOf(tensor))).toBe(true);
          const width = tensorBytes(tensor.dtype, [])!;
          expect((file.dataStart + file.entries.get(tensor.name)!.begin) % width).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a folder of shards', { timeout: 60_000 }, () => {
    const folder = scratchFolder();
    fc.assert(
      fc.property(tensors, fc.integer({ min: 1, max: 4000 }), (declared, maxShardBytes) => {
        const home = mkdtempSync(join(folder, 'run-'));
        using writer = new ShardedSafetensorsWriter(home, declared, { maxShardBytes });
        writeInPieces(writer, declared, 97);
        const files = writer.finish();
        for (const { path, sha256 } of files) {
          expect(sha256).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'));
        }
        const source = openSafetensorsFolder(home);
        expect(new Set(source.names())).toEqual(new Set(declared.map((tensor) => tensor.name)));
        for (const tensor of declared) {
          const into = Buffer.alloc(source.info(tensor.name).bytes);
          source.readInto(tensor.name, into);
          expect(into.equals(contentOf(tensor))).toBe(true);
        }
        source.close();
      }),
      { numRuns: 60 },
    );
  });
});

describe('what the writer refuses', () => {
  const two: TensorDeclaration[] = [
    { name: 'a', dtype: 'U8', shape: [3] },
    { name: 'b', dtype: 'F32', shape: [2] },
  ];

  test('pieces out of order, too long, too few, too many', () => {
    const path = join(scratchFolder(), 'x.safetensors');
    using writer = new SafetensorsWriter(path, two);
    expect(writer.layout).toEqual(['b', 'a']);
    const write = (name: string, bytes: number, offset: number): string =>
      messageOf(path, () => writer.write(name, new Uint8Array(bytes), offset));
    expect(write('a', 3, 0)).toBe('E_ARGUMENT FILE: got 3 bytes of "a" at 0, expected 8 bytes of "b" at 0');
    expect(write('b', 4, 4)).toBe('E_ARGUMENT FILE: got 4 bytes of "b" at 4, expected 8 bytes of "b" at 0');
    expect(write('b', 9, 0)).toBe('E_ARGUMENT FILE: got 9 bytes of "b" at 0, expected 8 bytes of "b" at 0');
    writer.write('b', new Uint8Array(8));
    expect(messageOf(path, () => writer.finish())).toBe(
      'E_STATE FILE: finished too early, still expecting 3 bytes of "a" at 0',
    );
    writer.write('a', new Uint8Array(3));
    expect(write('a', 1, 3)).toBe('E_ARGUMENT FILE: got 1 bytes of "a" at 3, expected nothing more');
    writer.finish();
    expect(messageOf(path, () => writer.finish())).toBe('E_STATE FILE: written after it was closed');
  });

  test('an existing file, a name twice, the reserved name, a senseless shape', () => {
    const path = join(scratchFolder(), 'x.safetensors');
    new SafetensorsWriter(path, []).finish();
    expect(messageOf(path, () => new SafetensorsWriter(path, []))).toMatch(/^E_IO FILE: cannot create: EEXIST/);
    const declare = (...tensors: TensorDeclaration[]): string =>
      messageOf(path, () => new SafetensorsWriter(`${path}2`, tensors));
    expect(declare(two[0]!, two[0]!)).toBe('E_ARGUMENT tensor "a" is declared twice');
    expect(declare({ name: '__metadata__', dtype: 'U8', shape: [] })).toMatch(/safetensors keeps that name for itself/);
    expect(declare({ name: 'n', dtype: 'F32', shape: [-1] })).toBe(
      'E_ARGUMENT tensor "n": cannot write shape [-1] of F32',
    );
    expect(declare({ name: 'n', dtype: 'F32', shape: [2 ** 30, 2 ** 30] })).toMatch(/cannot write shape/);
  });
});

test('shards are cut, named and indexed as Hugging Face does', () => {
  const folder = scratchFolder();
  const declared = [3, 3, 9, 2].map((size, i): TensorDeclaration => ({ name: `t${i}`, dtype: 'U8', shape: [size] }));
  using writer = new ShardedSafetensorsWriter(folder, declared, { maxShardBytes: 6 });
  writeInPieces(writer, declared, 100);
  expect(writer.finish().map(({ path }) => path.slice(folder.length + 1))).toEqual([
    'model-00001-of-00003.safetensors',
    'model-00002-of-00003.safetensors',
    'model-00003-of-00003.safetensors',
    'model.safetensors.index.json',
  ]);
  expect(JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'))).toEqual({
    metadata: { total_size: 17 },
    weight_map: {
      t0: 'model-00001-of-00003.safetensors',
      t1: 'model-00001-of-00003.safetensors',
      t2: 'model-00002-of-00003.safetensors',
      t3: 'model-00003-of-00003.safetensors',
    },
  });
  using shard = openSafetensors(join(folder, 'model-00001-of-00003.safetensors'));
  expect(Object.fromEntries(shard.metadata)).toEqual({ format: 'pt' });
});
