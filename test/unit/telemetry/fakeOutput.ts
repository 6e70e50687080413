import type { Output } from '../../../src/telemetry/index.ts';

/** Collects what is written; `columns` may change between writes, as a window's does. */
export class FakeOutput implements Output {
  readonly isTTY: boolean;
  columns: number;
  text = '';
  writes = 0;

  constructor(options: { isTTY?: boolean; columns?: number } = {}) {
    this.isTTY = options.isTTY ?? false;
    this.columns = options.columns ?? 80;
  }

  write(text: string): void {
    this.text += text;
    this.writes += 1;
  }
}

/**
 * What a terminal would show after `text`: understands new line, carriage return, cursor up, erase to the end of the
 * line and of the screen, and wrapping at `columns`. Colours and cursor visibility are dropped.
 */
export function screen(text: string, columns: number): string {
  const rows: string[][] = [[]];
  let row = 0;
  let column = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what is read here
  for (const match of text.matchAll(/\x1b\[(\??\d*(?:;\d+)*)([A-Za-z])|([\s\S])/gu)) {
    const [, argument, command, character] = match;
    if (command === 'A') row = Math.max(0, row - Number(argument || 1));
    else if (command === 'K') rows[row]!.length = Math.min(rows[row]!.length, column);
    else if (command === 'J') {
      rows[row]!.length = Math.min(rows[row]!.length, column);
      rows.length = row + 1;
    } else if (character === '\n') {
      row += 1;
      column = 0;
      rows[row] ??= [];
    } else if (character === '\r') column = 0;
    else if (character !== undefined) {
      if (column === columns) {
        row += 1;
        column = 0;
        rows[row] ??= [];
      }
      rows[row]![column] = character;
      column += 1;
    }
  }
  return rows.map((cells) => Array.from(cells, (cell) => cell ?? ' ').join('')).join('\n');
}
