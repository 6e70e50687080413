/** A rank that dies, hangs or does something else: the others say which, and nobody aborts or hangs. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { freePort } from '../freePort.ts';
import { type RankEnd, startRanks } from './ranks.ts';

const script = 'scripts/failing.ts';
interface Seen {
  readonly code: string;
  readonly message: string;
  readonly details: Record<string, unknown>;
}
const seen = (end: RankEnd | undefined): Seen => {
  expect(end?.error, end?.output).toBeUndefined();
  return end!.value as Seen;
};

describe.skipIf(!nativeIsBuilt())('when a rank fails', () => {
  it.each(['killed', 'killed while a message is expected'])('%s: the others name it', async (input) => {
    const { children, marked, ended } = startRanks(3, script, { input, timeoutSeconds: 100 });
    await marked(1, 'ready');
    children[1]!.kill('SIGKILL');
    const ends = await ended;
    expect(ends[1]!.signal).toBe('SIGKILL');
    for (const rank of [0, 2]) {
      const { code, message, details } = seen(ends[rank]);
      expect(code).toBe('E_COLLECTIVE');
      expect(message).toContain(`in group "all" on rank ${rank} (position ${rank} of 3) failed`);
      expect(message).toMatch(/rank 1|first to report/i);
      expect(details.rank).toBe(rank);
      expect(ends[rank]!.code).toBe(0);
    }
    const first = ends.map((end) => end.value as Seen | undefined).find((one) => one?.details.silent !== undefined);
    expect(first?.details.silent).toContain(1);
  });

  it('hangs: the others give up in time and name it', async () => {
    const ends = await startRanks(2, script, { input: 'hangs', timeoutSeconds: 3 }).ended;
    const { message, details } = seen(ends[0]);
    expect(message).toContain('allReduce of [1000] Float in group "all" on rank 0 (position 0 of 2) timed out');
    expect(details).toMatchObject({ collective: 'allReduce', group: 'all', timedOut: 1, silent: [1] });
    expect(seen(ends[1]).message).toContain('Rank 0 was the first to report');
  });

  it('makes other groups: both wishes are shown', async () => {
    const ends = await startRanks(2, script, { input: 'other groups' }).ended;
    expect(seen(ends[0]).message).toBe(
      'ranks disagree on group 1: rank 0 makes "pair" of ranks [1,0], rank 1 makes "pair" of ranks [0,1]',
    );
    expect(seen(ends[1]).code).toBe('E_COLLECTIVE');
  });

  it('leaves a collective under way: it still ends at once', async () => {
    const ends = await startRanks(2, script, { input: 'not waited for', timeoutSeconds: 500 }).ended;
    expect(ends.map(({ code, value }) => [code, value])).toEqual([
      [0, 'left'],
      [0, 'left'],
    ]);
  });

  it('throws by itself: its own error is its own, the others point at it', async () => {
    const ends = await startRanks(2, script, { input: 'ends with a failure', storePort: await freePort() }).ended;
    const { code, signal, error, output } = ends[1]!;
    expect(error, `exit code ${code}, signal ${signal}: ${output}`).toBeDefined();
    expect(error).toContain('a defect of rank 1');
    expect(seen(ends[0]).message).toContain('No word from rank 1');
  });
});
