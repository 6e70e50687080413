import { LiveProgress } from './liveProgress.ts';
import { PlainProgress } from './plainProgress.ts';
import type { Progress } from './progress.ts';
import { type Output, wantsColor } from './terminal.ts';

/**
 * The progress that suits an output: a live block on a terminal, lines otherwise.
 * `logEvery` is the number of steps between two plain lines.
 */
export function createProgress(output: Output, options: { readonly logEvery: number }): Progress {
  if (output.isTTY !== true || process.env.TERM === 'dumb') return new PlainProgress(output, options);
  return new LiveProgress(output, { color: wantsColor(output) });
}
