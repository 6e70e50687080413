import { styleText } from 'node:util';

/** The part of a write stream that progress needs. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export type Style = Parameters<typeof styleText>[0];
export type Paint = (style: Style, text: string) => string;

/** Colours only on a terminal that wants them (https://no-color.org). */
export function wantsColor(output: Output, environment: NodeJS.ProcessEnv = process.env): boolean {
  if ((environment.NO_COLOR ?? '') !== '') return false;
  return output.isTTY === true && environment.TERM !== 'dumb';
}

export function painter(color: boolean): Paint {
  return color ? (style, text) => styleText(style, text, { validateStream: false }) : (_style, text) => text;
}

/** Text as it will be seen, in pieces, so that it can be cut to a width before escape codes are added. */
export type Piece = string | readonly [Style, string];

export const widthOf = (pieces: readonly Piece[]): number =>
  pieces.reduce((width, piece) => width + (typeof piece === 'string' ? piece : piece[1]).length, 0);

/** Paints a line, cut to `columns` cells. Every character must be one cell wide. */
export function paintLine(pieces: readonly Piece[], columns: number, paint: Paint): string {
  let room = columns;
  let line = '';
  for (const piece of pieces) {
    const [style, text] = typeof piece === 'string' ? [undefined, piece] : piece;
    const shown = text.slice(0, room);
    room -= shown.length;
    if (shown !== '') line += style === undefined ? shown : paint(style, shown);
  }
  return line;
}
