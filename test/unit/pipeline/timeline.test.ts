/** A simulated step written as ranks would write it: the measured bubble is the simulated one, the merged timeline holds all. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { buildSchedule, label, type PipelineEvent, simulate } from '../../../src/dist/pipeline/index.ts';
import { measuredBubble, measureRank, pipelineTimeline } from '../../../src/engine/pipelineTimeline.ts';
import { mergeTraces } from '../../../src/telemetry/index.ts';

const schedule = buildSchedule({ schedule: 'zb-h1', ranks: 3, microBatches: 4 });
const simulation = simulate(schedule);
const eventsOf = (rank: number): PipelineEvent[] =>
  simulation.events
    .filter((event) => event.rank === rank)
    .map(({ action, start, end }) => ({ action, startMs: start, durationMs: end - start + 1, waitMs: 1 }));

it('measures what the simulator says', () => {
  const ranks = schedule.actions.map((_, rank) => measureRank(eventsOf(rank)));
  const late = ranks.map((rank) => ({ ...rank, lastMs: rank.lastMs - 1 })); // each event ended 1 ms late, waiting
  expect(measuredBubble(late)).toBeCloseTo(simulation.bubble, 12);
});

it('merges timelines, also one that a dead process left open', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-timeline-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files = schedule.actions.map((_, rank) => {
    const file = path.join(folder, `rank-${rank}.json`);
    using timeline = pipelineTimeline(file, rank);
    for (const event of eventsOf(rank)) timeline.observe(event);
    return file;
  });
  const open = readFileSync(files[2]!, 'utf8').trimEnd().slice(0, -1).trimEnd();
  writeFileSync(files[2]!, `${open},\n`);
  const merged = path.join(folder, 'all.json');
  mergeTraces(files, merged);
  const events = JSON.parse(readFileSync(merged, 'utf8')) as { ph: string; pid: number; name: string }[];
  for (const [rank, actions] of schedule.actions.entries()) {
    const spans = events.filter(({ ph, pid }) => ph === 'X' && pid === rank).map(({ name }) => name);
    expect(spans.sort()).toEqual(actions.map(label).sort());
  }
  appendFileSync(files[0]!, 'no timeline');
  expect(() => mergeTraces(files, merged)).toThrow('not a timeline');
});
