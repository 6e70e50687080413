import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** A line without an end would fill the memory: it is cut here. */
const longest = 1 << 16;

/** Calls `each` for every line of a stream, and for what is left at its end. */
export function eachLine(stream: Readable, each: (line: string) => void, maxLength = longest): void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  stream.on('data', (data: Buffer) => {
    const parts = (rest + decoder.write(data)).split('\n');
    rest = parts.pop()!;
    for (const part of parts) each(part.endsWith('\r') ? part.slice(0, -1) : part);
    while (rest.length > maxLength) {
      each(rest.slice(0, maxLength));
      rest = rest.slice(maxLength);
    }
  });
  stream.on('end', () => {
    rest += decoder.end();
    if (rest !== '') each(rest);
    rest = '';
  });
}
