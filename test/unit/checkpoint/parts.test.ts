/** One checkpoint written by several processes, each with its slices of the global tensors. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  commitParts,
  contentFile,
  findNewest,
  openTensors,
  prepareParts,
  sliceFiles,
  type TensorSlice,
  writePart,
} from '../../../src/engine/checkpoint/index.ts';
import { sampleContent } from './content.ts';
import { names, scratchOutput } from './sample.ts';

const shape = [7, 5];
const elements = 35;
const valueAt = (tensor: number, index: number): number => tensor * 1000 + index;

/** Elements `begin` to `end` of tensor number `tensor`. */
function slice(tensor: number, begin: number, end: number, change: Partial<TensorSlice> = {}): TensorSlice {
  const bytes = new Uint8Array(Float32Array.from({ length: end - begin }, (_, i) => valueAt(tensor, begin + i)).buffer);
  return {
    name: `layer.${tensor}.moment1`,
    dtype: 'F32',
    shape,
    begin,
    elements: end - begin,
    read: (into, at) => into.set(bytes.subarray(at, at + into.length)),
    ...change,
  };
}

const shared = (output: string, writers: number) => ({ output, step: 20, runId: 'test-1-2', writers });
const fields = (output: string) => sampleContent(20, join(output, 't.json')).manifestFields;

async function write(output: string, parts: readonly (readonly TensorSlice[])[]): Promise<string> {
  const all = shared(output, parts.length);
  await prepareParts(all, 1000);
  for (const [writer, slices] of parts.entries()) {
    const files = [sliceFiles('optimizer', { writer, writers: parts.length }, slices)];
    if (writer === 0) files.push(contentFile('model/config.json', {}));
    await writePart(all, writer, files);
  }
  return (await commitParts(all, fields(output), { keepLast: 2 })).path;
}

test('any partition is written, and any range is read from it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(elements), { maxLength: 5 }),
      fc.nat(elements - 1),
      fc.nat(elements - 1),
      async (cuts, a, b) => {
        const output = scratchOutput();
        const edges = [...new Set([0, elements, ...cuts])].sort((x, y) => x - y);
        const parts = edges.slice(1).map((end, index) => [0, 1].map((tensor) => slice(tensor, edges[index]!, end)));
        const path = await write(output, parts.length === 0 ? [[]] : parts);
        const { found } = await findNewest(output);
        expect(found).toMatchObject({ path, manifest: { writers: parts.length }, warnings: [] });
        const source = openTensors(join(path, 'optimizer'), 'optimizer');
        expect(source.info('layer.1.moment1')).toMatchObject({ dtype: 'F32', shape, bytes: elements * 4 });
        const [begin, end] = [Math.min(a, b), Math.max(a, b) + 1];
        const into = new Uint8Array((end - begin) * 4);
        source.readInto('layer.1.moment1', into, begin * 4);
        source.close();
        expect([...new Float32Array(into.buffer)]).toEqual(
          Array.from({ length: end - begin }, (_, i) => valueAt(1, begin + i)),
        );
      },
    ),
    { numRuns: 40 },
  );
});

test('a writer that did not finish: refused, nothing left, the checkpoint before untouched', async () => {
  const output = scratchOutput();
  const before = await write(output, [[slice(0, 0, elements)]]);
  const all = { ...shared(output, 2), step: 30 };
  await prepareParts(all, 1000);
  await writePart(all, 0, [sliceFiles('optimizer', { writer: 0, writers: 2 }, [slice(0, 0, 10)])]);
  await expect(commitParts(all, fields(output), { keepLast: 1 })).rejects.toMatchObject({
    code: 'E_CHECKPOINT',
    message: 'the checkpoint of step 30 was not written: writer 1 did not finish its part',
  });
  expect(names(output)).toEqual(['step-00000020']);
  expect((await findNewest(output)).found?.path).toBe(before);
});

test('gaps, overlaps, a missing writer and slices that disagree are refused', async () => {
  const refusal = async (parts: TensorSlice[][], damage = (_folder: string): void => {}): Promise<string> => {
    const folder = join(await write(scratchOutput(), parts), 'optimizer');
    damage(folder);
    try {
      openTensors(folder, 'optimizer').close();
    } catch (error) {
      return (error as Error).message.replaceAll(folder, 'FOLDER');
    }
    throw new Error('expected a refusal');
  };
  expect(await refusal([[slice(0, 0, 10)], [slice(0, 12, elements)]])).toBe(
    'FOLDER: nobody wrote bytes 40 to 48 of layer.0.moment1',
  );
  expect(await refusal([[slice(0, 0, 10)], [slice(0, 9, elements)]])).toBe(
    'FOLDER: two slices hold bytes 36 to 40 of layer.0.moment1',
  );
  expect(await refusal([[slice(0, 0, 10)]])).toBe(
    'FOLDER: the slices of layer.0.moment1 have 40 bytes, the tensor has 140',
  );
  expect(await refusal([[slice(0, 0, 10)], [slice(0, 10, elements, { shape: [5, 7] })]])).toMatch(
    /slices of layer.0.moment1 disagree about its type or shape$/,
  );
  expect(
    await refusal([[slice(0, 0, 10)], [slice(0, 10, elements)]], (folder) =>
      rmSync(join(folder, readdirSync(folder).sort()[1]!)),
    ),
  ).toBe('FOLDER: has the slices of 1 writers, their names say that there were 2');
});
