import { type Output, type Paint, type Piece, painter, paintLine, wantsColor } from '../../telemetry/terminal.ts';

/** Where an answer is shown: a terminal of some width, or a pipe, where nothing is cut. */
export interface Screen {
  /** For plots and for what may be left out. */
  readonly columns: number;
  /** Lines longer than this are cut. */
  readonly limit: number;
  readonly paint: Paint;
}

export function screenOf(output: Output): Screen {
  const terminal = output.isTTY === true;
  const columns = Math.max(30, terminal ? (output.columns ?? 80) : 80);
  return { columns, limit: terminal ? columns : Number.MAX_SAFE_INTEGER, paint: painter(wantsColor(output)) };
}

/** Lines of pieces as text; what does not fit ends in an ellipsis. */
export function linesText(lines: readonly (readonly Piece[])[], { limit, paint }: Screen): string {
  return lines
    .map((line) => {
      const width = line.reduce((sum, piece) => sum + (typeof piece === 'string' ? piece : piece[1]).length, 0);
      const text = width <= limit ? paintLine(line, limit, paint) : `${paintLine(line, limit - 1, paint)}…`;
      return `${text.trimEnd()}\n`;
    })
    .join('');
}

export interface Column {
  readonly title: string;
  /** Numbers stand to the right. */
  readonly right?: boolean;
  /** The lower, the sooner it is left out where there is no room; columns without are always shown. */
  readonly weight?: number;
}

/** A table whose columns fit: the lightest ones are left out until they do. */
export function table(columns: readonly Column[], rows: readonly (readonly Piece[])[], screen: Screen): Piece[][] {
  const textOf = (piece: Piece): string => (typeof piece === 'string' ? piece : piece[1]);
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => textOf(row[i]!).length)));
  let shown = columns.map((_, i) => i);
  const width = (): number => shown.reduce((sum, i) => sum + widths[i]! + 2, -2);
  const byWeight = shown
    .filter((i) => columns[i]!.weight !== undefined)
    .sort((a, b) => columns[a]!.weight! - columns[b]!.weight!);
  for (const lightest of byWeight) {
    if (width() <= screen.limit) break;
    shown = shown.filter((i) => i !== lightest);
  }
  const line = (pieces: readonly Piece[]): Piece[] =>
    shown.flatMap((i, at): Piece[] => {
      const piece = pieces[i]!;
      const room = ' '.repeat(widths[i]! - textOf(piece).length);
      const gap = at === 0 ? '' : '  ';
      return columns[i]!.right === true ? [gap + room, piece] : [gap, piece, room];
    });
  return [line(columns.map(({ title }): Piece => ['dim', title])), ...rows.map(line)];
}
