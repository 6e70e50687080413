import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSafetensors, SafetensorsWriter } from '../../../src/tensor/safetensors/index.ts';
import { messageOf, scratchFolder } from './scratch.ts';

/** Written by the safetensors package for Python; make.py beside it says how. */
const folder = join(import.meta.dirname, '../../goldens/safetensors');
const golden = join(folder, 'mixed.safetensors');
type Described = Record<string, { shape: number[]; torch: string; hex: string }>;
const described = JSON.parse(readFileSync(join(folder, 'mixed.json'), 'utf8')) as Described;

const torchNames: Readonly<Record<string, string>> = {
  F64: 'float64',
  F32: 'float32',
  BF16: 'bfloat16',
  F16: 'float16',
  I64: 'int64',
  I32: 'int32',
  U8: 'uint8',
  BOOL: 'bool',
  F8_E4M3: 'float8_e4m3fn',
};

test('reads what the Python package wrote, byte for byte', () => {
  using file = openSafetensors(golden);
  expect([...file.names()].sort()).toEqual(Object.keys(described).sort());
  expect(Object.fromEntries(file.metadata)).toEqual({ format: 'pt', note: 'golden' });
  for (const [name, { shape, torch, hex }] of Object.entries(described)) {
    const info = file.info(name);
    expect(`torch.${torchNames[info.dtype]}`, name).toBe(torch);
    expect(info.shape, name).toEqual(shape);
    const bytes = new Uint8Array(info.bytes);
    file.readInto(name, bytes);
    expect(Buffer.from(bytes).toString('hex'), name).toBe(hex);
  }
});

test('writes the same bytes the Python package wrote, given its order and metadata', () => {
  using file = openSafetensors(golden);
  const path = join(scratchFolder(), 'copy.safetensors');
  const order = [...file.entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  const metadata = Object.fromEntries(file.metadata);
  using writer = new SafetensorsWriter(
    path,
    order.map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    { metadata },
  );
  for (const name of writer.layout) {
    const bytes = new Uint8Array(file.info(name).bytes);
    file.readInto(name, bytes);
    writer.write(name, bytes);
  }
  writer.finish();
  expect(readFileSync(path).equals(readFileSync(golden))).toBe(true);
});

test('partial reads and their limits', () => {
  using file = openSafetensors(golden);
  const middle = new Uint8Array(8);
  file.readInto('embed.weight', middle, 20);
  expect(Buffer.from(middle).toString('hex')).toBe(described['embed.weight']!.hex.slice(40, 56));
  expect(messageOf(golden, () => file.readInto('embed.weight', middle, 41))).toBe(
    'E_ARGUMENT FILE: tensor "embed.weight" has 48 bytes; cannot read 8 at 41',
  );
  expect(messageOf(golden, () => file.readInto('embed.weight', middle, -1))).toMatch(/cannot read 8 at -1/);
  expect(() => file.info('embed.weigth')).toThrow(
    expect.objectContaining({ code: 'E_ARGUMENT', hint: 'The nearest name is "embed.weight".' }),
  );
  file.close();
  expect(messageOf(golden, () => file.readInto('embed.weight', middle))).toBe('E_STATE FILE: read after close()');
});
