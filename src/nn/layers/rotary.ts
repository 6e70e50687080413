/** Rotary position embedding (Su et al. 2021) in the half-split form of Llama, with its scaling rules. */
import type { DeviceName } from '../../native/binding.ts';
import { type Dtype, ops, type Tensor } from '../../tensor/index.ts';
import { rotary } from '../fused.ts';
import type { PositionRun } from './shardedSequence.ts';

export type RotaryScaling =
  | { readonly type: 'none' }
  /** Positions divided by `factor` (Chen et al. 2023). */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3.1: long wavelengths divided by `factor`, short ones kept, a smooth ramp between. */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalLength: number;
    };

export interface RotaryOptions {
  readonly headSize: number;
  readonly theta: number;
  readonly scaling: RotaryScaling;
}

/** Cosine and sine tables, made once per length, element type and device. */
export class Rotary {
  readonly #frequencies: Float64Array;
  #tables: { length: number; dtype: Dtype; device: DeviceName; cos: Tensor; sin: Tensor } | null = null;

  constructor(options: RotaryOptions) {
    this.#frequencies = frequencies(options);
  }

  /** Rotates x `[batch, heads, length, headSize]`, which stands at `start` and after, or in these runs. */
  apply(x: Tensor, start: number | readonly PositionRun[]): Tensor {
    const runs = typeof start === 'number' ? [{ begin: start, end: start + x.size(2) }] : start;
    const { cos, sin } = this.#tablesFor(Math.max(...runs.map(({ end }) => end)), x.dtype, x.device);
    return rotary(x, rowsOf(cos, runs), rowsOf(sin, runs));
  }

  /** Frees the tables; they are made again when needed. */
  dispose(): void {
    this.#tables?.cos.dispose();
    this.#tables?.sin.dispose();
    this.#tables = null;
  }

  #tablesFor(length: number, dtype: Dtype, device: DeviceName): { cos: Tensor; sin: Tensor } {
    const known = this.#tables;
    if (known !== null && known.length >= length && known.dtype === dtype && known.device === device) return known;
    const rows = Math.max(length, known === null ? 0 : 2 * known.length);
    this.dispose();
    const table = (f: (x: number) => number): Tensor =>
      ops.fromArray(this.#angles(rows, f), [rows, 2 * this.#frequencies.length], { dtype, device }).keep();
    this.#tables = { length: rows, dtype, device, cos: table(Math.cos), sin: table(Math.sin) };
    return this.#tables;
  }

  /** `f(position · frequency)`, the row of frequencies twice. Angles in fp32, as the reference computes them. */
  #angles(rows: number, f: (x: number) => number): Float32Array {
    const width = this.#frequencies.length;
    const values = new Float32Array(rows * 2 * width);
    for (let position = 0; position < rows; position++) {
      for (let i = 0; i < width; i++) {
        const value = f(Math.fround(position * Math.fround(this.#frequencies[i]!)));
        values[position * 2 * width + i] = value;
        values[position * 2 * width + width + i] = value;
      }
    }
    return values;
  }
}

function rowsOf(table: Tensor, runs: readonly PositionRun[]): Tensor {
  const rows = runs.map(({ begin, end }) => ops.slice(table, 0, begin, end));
  return rows.length === 1 ? rows[0]! : ops.cat(rows, 0);
}

function frequencies({ headSize, theta, scaling }: RotaryOptions): Float64Array {
  return Float64Array.from({ length: headSize / 2 }, (_, i) => scale(theta ** ((-2 * i) / headSize), scaling));
}

function scale(frequency: number, scaling: RotaryScaling): number {
  if (scaling.type === 'none') return frequency;
  if (scaling.type === 'linear') return frequency / scaling.factor;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalLength } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalLength / lowFrequencyFactor) return frequency / factor;
  if (wavelength < originalLength / highFrequencyFactor) return frequency;
  const smooth = (originalLength / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}
