import type { StepRow } from '../record/record.ts';

/** What is kept of every step, in the order of the file format: a name's place is its number there and never changes. */
export const columnNames = [
  'loss',
  'gradientNorm',
  'clipFactor',
  'learningRate',
  'lossScale',
  'tokens',
  'seconds',
] as const satisfies readonly (keyof StepRow)[];

export type ColumnName = (typeof columnNames)[number];

/** Values of consecutive steps, one array a column; NaN where there is no value. */
export type Columns = Readonly<Record<ColumnName, Float32Array>>;

export const emptyColumns = (steps: number): Columns =>
  Object.fromEntries(columnNames.map((name) => [name, new Float32Array(steps)])) as Columns;

/** The same memory, `from` (inclusive) to `to` (exclusive). */
export const sliceColumns = (columns: Columns, from: number, to: number): Columns =>
  Object.fromEntries(columnNames.map((name) => [name, columns[name].subarray(from, to)])) as Columns;
