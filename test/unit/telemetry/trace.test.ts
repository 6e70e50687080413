import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TraceWriter } from '../../../src/telemetry/index.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tierra-trace-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type TraceEvent = Record<string, unknown> & { args: Record<string, unknown> };
const read = (path: string): TraceEvent[] => JSON.parse(readFileSync(path, 'utf8')) as TraceEvent[];

test('spans, counters and named lanes, in a file that parses', () => {
  const path = join(folder, 'deep/er/trace.json');
  const trace = new TraceWriter(path, { process: { id: 3, name: 'rank 3' }, lanes: ['compute'] });
  trace.span({ lane: 'compute', name: 'block 0', startUs: 10, durationUs: 5.5, args: { cause: 'forward' } });
  trace.span({ lane: 'disk "a"', name: 'read', startUs: 12, durationUs: 0 });
  trace.counter({ name: 'memory', atUs: 12, values: { gpu: 1024, host: 2048 } });
  trace.close();
  expect(read(path)).toEqual([
    { ph: 'M', name: 'process_name', pid: 3, tid: 0, args: { name: 'rank 3' } },
    { ph: 'M', name: 'thread_name', pid: 3, tid: 1, args: { name: 'compute' } },
    { ph: 'M', name: 'thread_sort_index', pid: 3, tid: 1, args: { sort_index: 1 } },
    { ph: 'X', name: 'block 0', cat: 'compute', pid: 3, tid: 1, ts: 10, dur: 5.5, args: { cause: 'forward' } },
    { ph: 'M', name: 'thread_name', pid: 3, tid: 2, args: { name: 'disk "a"' } },
    { ph: 'M', name: 'thread_sort_index', pid: 3, tid: 2, args: { sort_index: 2 } },
    { ph: 'X', name: 'read', cat: 'disk "a"', pid: 3, tid: 2, ts: 12, dur: 0 },
    { ph: 'C', name: 'memory', pid: 3, tid: 0, ts: 12, args: { gpu: 1024, host: 2048 } },
  ]);
});

test('events reach the file as they come, and a file cut short still reads after a bracket', () => {
  const path = join(folder, 'trace.json');
  const trace = new TraceWriter(path);
  const count = 20_000;
  for (let i = 0; i < count; i++) trace.span({ lane: 'compute', name: `moment ${i}`, startUs: i, durationUs: 1 });
  const early = readFileSync(path, 'utf8');
  expect(early.length).toBeGreaterThan(1_000_000);
  expect(() => JSON.parse(`${early}]`)).not.toThrow();
  trace.close();
  expect(read(path).filter((event) => event.ph === 'X')).toHaveLength(count);
});

test('closing twice is harmless, writing after it is not', () => {
  const trace = new TraceWriter(join(folder, 'trace.json'));
  trace.close();
  trace.close();
  expect(() => trace.counter({ name: 'memory', atUs: 0, values: {} })).toThrow(/is closed/);
});

test('what cannot be drawn is refused, what cannot be written says where', () => {
  using trace = new TraceWriter(join(folder, 'trace.json'));
  expect(() => trace.span({ lane: 'a', name: 'b', startUs: Number.NaN, durationUs: 1 })).toThrow(/starts at NaN/);
  expect(() => trace.span({ lane: 'a', name: 'b', startUs: 0, durationUs: -1 })).toThrow(/lasts -1 us/);
  expect(() => new TraceWriter('/dev/null/trace.json')).toThrow(/cannot write the timeline \/dev\/null\/trace.json/);
});
