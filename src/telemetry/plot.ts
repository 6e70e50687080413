/** Curves in characters. */
import type { Piece } from './terminal.ts';

export interface Series {
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** One character wide: how the curve is drawn where several share the picture. */
  readonly mark: string;
  readonly style: 'yellow' | 'cyan';
}

export interface PlotOptions {
  /** Cells, labels included. */
  readonly width: number;
  readonly height: number;
  readonly label: (y: number) => string;
}

/** Dots of a Braille cell, by column and row (Unicode 16, section 21.1). */
const dots = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
] as const;
const braille = 0x2800;

/**
 * Lines of a picture with its axes: the least and greatest value on the left, the first and last step below. One curve is drawn in
 * Braille dots, several by their marks. Points that are no numbers are left out; null where none is left.
 */
export function plot(series: readonly Series[], { width, height, label }: PlotOptions): Piece[][] | null {
  const all = series.flatMap(({ points }) => points).filter(({ y }) => Number.isFinite(y));
  if (all.length === 0) return null;
  const [left, right] = range(all.map(({ x }) => x));
  const [low, high] = range(all.map(({ y }) => y));
  const labels = [label(high), label(low)];
  const margin = Math.max(...labels.map(({ length }) => length));
  const cells = Math.max(8, width - margin - 2);
  const place = { left, right, low, high, cells, height };
  const rows = series.length === 1 ? brailleRows(series[0]!, place) : markRows(series, place);
  const axis = (row: number): Piece => {
    const text = row === 0 ? labels[0]! : row === height - 1 && high > low ? labels[1]! : '';
    return ['dim', `${text.padStart(margin)} ${text === '' ? '│' : '┤'}`];
  };
  const from = String(left);
  const to = right > left ? String(right) : '';
  return [
    ...rows.map((row, index): Piece[] => [axis(index), ...row]),
    [['dim', `${' '.repeat(margin + 1)}└${'─'.repeat(cells)}`]],
    [['dim', `${' '.repeat(margin + 2)}${from}${to.padStart(Math.max(to.length + 1, cells - from.length))}`]],
  ];
}

interface Place {
  readonly left: number;
  readonly right: number;
  readonly low: number;
  readonly high: number;
  readonly cells: number;
  readonly height: number;
}

const range = (values: readonly number[]): [number, number] =>
  values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ] as [number, number]);

/** One value for each of `columns` columns: the mean of the points that fall there, the last one before where none does. */
function columnValues({ points }: Series, { left, right }: Place, columns: number): number[] {
  const sums = new Float64Array(columns);
  const counts = new Uint32Array(columns);
  for (const { x, y } of points) {
    if (!Number.isFinite(y)) continue;
    const column = right === left ? 0 : Math.round(((x - left) / (right - left)) * (columns - 1));
    sums[column] = sums[column]! + y;
    counts[column] = counts[column]! + 1;
  }
  const last = counts.findLastIndex((count) => count > 0);
  let value = Number.NaN;
  return Array.from(counts, (count, column) => {
    if (count > 0) value = sums[column]! / count;
    return column <= last ? value : Number.NaN;
  });
}

/** Rows from the top, 0 to `rows` - 1; a flat curve runs in the middle. */
const rowOf = (y: number, { low, high }: Place, rows: number): number =>
  high === low ? Math.floor(rows / 2) : Math.round(((high - y) / (high - low)) * (rows - 1));

function brailleRows(series: Series, place: Place): Piece[][] {
  const { cells, height } = place;
  const grid = Array.from({ length: height }, () => new Uint8Array(cells));
  let before = Number.NaN;
  for (const [column, y] of columnValues(series, place, 2 * cells).entries()) {
    if (Number.isNaN(y)) continue;
    const row = rowOf(y, place, 4 * height);
    // Joined to the last one, so that a steep curve stays one line.
    const from = Number.isNaN(before) ? row : before + Math.sign(row - before);
    for (let at = Math.min(from, row); at <= Math.max(from, row); at++) {
      const cell = grid[at >> 2]!;
      cell[column >> 1] = cell[column >> 1]! | dots[column & 1]![at & 3]!;
    }
    before = row;
  }
  return grid.map((row) => [
    [series.style, Array.from(row, (bits) => (bits === 0 ? ' ' : String.fromCodePoint(braille + bits))).join('')],
  ]);
}

/** Where curves meet in one cell, `*`. */
function markRows(series: readonly Series[], place: Place): Piece[][] {
  const { cells, height } = place;
  const grid = Array.from({ length: height }, () => Array.from({ length: cells }, (): Series | '*' | null => null));
  for (const each of series) {
    for (const [column, y] of columnValues(each, place, cells).entries()) {
      if (Number.isNaN(y)) continue;
      const row = grid[rowOf(y, place, height)]!;
      row[column] = row[column] === null ? each : '*';
    }
  }
  return grid.map((row) =>
    row.map((cell): Piece => (cell === null ? ' ' : cell === '*' ? '*' : [cell.style, cell.mark])),
  );
}
