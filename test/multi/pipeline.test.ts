/** Real processes that hold stages of one model train it to the bits of a process by itself, under every schedule. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  buildSchedule,
  isTransfer,
  label,
  type ScheduleName,
  type StageRange,
  uniformCuts,
} from '../../src/dist/pipeline/index.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { type PipelineCase, type PipelineRun, trainCase } from './pipelineCases.ts';
import { runRanks } from './ranks.ts';

const schedules = ['gpipe', '1f1b', 'interleaved', 'zb-h1', 'zbv'] as const satisfies readonly ScheduleName[];
const chunksOf = (schedule: ScheduleName): number => (schedule === 'interleaved' || schedule === 'zbv' ? 2 : 1);

const caseOf = (
  schedule: ScheduleName,
  pp: number,
  changes: Partial<PipelineCase> & Pick<PipelineCase, 'model' | 'layers'>,
): PipelineCase => ({
  name: `${schedule} ${pp} ${changes.model}`,
  steps: 20,
  config: { parallel: { pp, pipeline: { schedule, cuts: 'uniform' } } },
  ...changes,
});

const serial = new Map<string, PipelineRun>();
function alone(one: PipelineCase): PipelineRun {
  const key = JSON.stringify([one.model, one.layers, one.steps, one.config.memory]);
  let known = serial.get(key);
  if (known === undefined) {
    known = trainCase(one, null, () => '');
    serial.set(key, known);
  }
  return known;
}

async function compare(pp: number, cases: readonly PipelineCase[]): Promise<PipelineRun[][]> {
  const ranks = await runRanks<PipelineRun[]>(pp, 'scripts/pipeline.ts', { input: cases, timeoutSeconds: 120 });
  for (const [index, one] of cases.entries()) {
    const expected = alone(one);
    const runs = ranks.map((all) => all[index]!);
    for (const [rank, run] of runs.entries()) {
      const where = `${one.name}, rank ${rank}`;
      expect(run.losses, where).toEqual(expected.losses);
      expect(run.norms, where).toEqual(expected.norms);
      expect(run.evaluated, where).toEqual(expected.evaluated);
      expect(run.generated, where).toEqual(expected.generated);
      expect(run.live, where).toBe(0);
      for (const [name, bits] of Object.entries(run.weights))
        expect(bits, `${where}, ${name}`).toBe(expected.weights[name]);
    }
    const names = new Set(runs.flatMap(({ weights }) => Object.keys(weights)));
    expect([...names].sort(), one.name).toEqual(Object.keys(expected.weights).sort());
  }
  return ranks;
}

describe.skipIf(!nativeIsBuilt())('pipelines of real processes', () => {
  it('two ranks: losses, norms and weights of every schedule are those of one process, bit for bit', async () => {
    const cases = schedules.flatMap((schedule) => [
      caseOf(schedule, 2, { model: 'gpt2-tied', layers: 4 }),
      caseOf(schedule, 2, { model: 'llama', layers: 3, steps: 4 }),
    ]);
    const ranks = await compare(2, cases);
    for (const [index, one] of cases.entries()) {
      const units = one.layers + 2;
      checkOrder(
        one.config.parallel!.pipeline!.schedule as ScheduleName,
        ranks.map((all) => all[index]!),
        uniformCuts(units, 2 * chunksOf(one.config.parallel!.pipeline!.schedule as ScheduleName)),
      );
    }
  });

  it('four ranks', async () => {
    await compare(
      4,
      schedules.map((schedule) => caseOf(schedule, 4, { model: 'gpt2-tied', layers: 6, steps: 4 })),
    );
  });

  it('one stage under recomputation, one with tiers of its own down to the disk', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tierra-pipeline-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const tiers = { memory: { gpu: '600KiB', cpu: '800KiB', nvme: { path: folder, size: '64MiB' } } };
    const config = (schedule: ScheduleName, activations: 'keep' | 'recompute') => ({
      parallel: { pp: 2, pipeline: { schedule, cuts: 'balanced' as const } },
      memory: { activations },
    });
    const runs = await compare(2, [
      {
        ...caseOf('1f1b', 2, { model: 'llama', layers: 3 }),
        config: config('1f1b', 'recompute'),
        onRank: { rank: 0, config: tiers },
      },
      {
        ...caseOf('zb-h1', 2, { model: 'llama', layers: 3 }),
        config: config('zb-h1', 'keep'),
        onRank: { rank: 1, config: tiers },
      },
    ]);
    expect(runs[0]![0]!.tiers.nvme).toBeGreaterThan(0);
    expect(runs[1]![1]!.tiers.host).toBeGreaterThan(0);
  });
});

/** What every rank did, in its order, is what the schedule says: actions as the runner tells them, visits as its store saw them. */
function checkOrder(schedule: ScheduleName, runs: readonly PipelineRun[], stages: readonly StageRange[]): void {
  const planned = buildSchedule({ schedule, ranks: runs.length, microBatches: 4 });
  for (const [rank, { actions, visits }] of runs.entries()) {
    const list = planned.actions[rank]!;
    expect(actions, `${schedule}, rank ${rank}`).toEqual(list.map(label));
    const expected = list.flatMap((action) => {
      if (isTransfer(action)) return [];
      const { first, end } = stages[action.stage]!;
      const units = Array.from({ length: end - first }, (_, index) => first + index);
      if (action.kind === 'forward') return units.map((unit) => `forward ${unit}`);
      const pass = action.kind === 'backwardInput' ? 'forward' : 'backward';
      return units.reverse().map((unit) => `${pass} ${unit}`);
    });
    expect(visits, `${schedule}, rank ${rank}`).toEqual(expected);
  }
}
