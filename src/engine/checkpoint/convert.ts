/** Element types that weights are exported in, converted on the way to a file: no tensor library is needed for it. */
import { TierraError } from '../../core/errors.ts';
import type { SafetensorsDtype } from '../../tensor/safetensors/index.ts';

/** Fills `to` with the elements of `from`, rounded to nearest even where `to` is narrower. */
export type Conversion = (from: Uint8Array, to: Uint8Array) => void;

/** How elements of one type become another; `E_UNSUPPORTED` for pairs that nobody asked for yet. */
export function conversion(from: SafetensorsDtype, to: SafetensorsDtype): Conversion {
  if (from === to) return (source, target) => target.set(source);
  const found = conversions[`${from}>${to}`];
  if (found !== undefined) return found;
  throw new TierraError('E_UNSUPPORTED', `weights of type ${from} cannot be exported as ${to}`, {
    hint: `From ${from} there are: ${Object.keys(conversions)
      .filter((pair) => pair.startsWith(`${from}>`))
      .map((pair) => pair.split('>')[1])
      .join(', ')}.`,
  });
}

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const halves = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);

const conversions: Readonly<Record<string, Conversion>> = {
  'BF16>F32': (from, to) => {
    const [source, target] = [halves(from), words(to)];
    for (let i = 0; i < source.length; i++) target[i] = source[i]! << 16;
  },
  'F32>BF16': (from, to) => {
    const [source, target] = [words(from), halves(to)];
    for (let i = 0; i < source.length; i++) target[i] = narrowed(source[i]!);
  },
  'F64>F32': (from, to) => {
    const source = new Float64Array(from.buffer, from.byteOffset, from.length / 8);
    new Float32Array(to.buffer, to.byteOffset, to.length / 4).set(source);
  },
};

/** The upper half of an fp32 number, rounded to nearest even; a NaN stays one, and quiet. */
function narrowed(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
