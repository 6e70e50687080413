/** The timeline of real steps over three tiers, as the file that Perfetto opens. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { initialize, launch } from '../../src/engine/index.ts';
import { observe } from '../../src/engine/observing.ts';
import type { Plan } from '../../src/memory/index.ts';
import { Gpt2, type TokenBatch } from '../../src/models/index.ts';
import type { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import type { MovementReport } from '../../src/offload/observer.ts';
import { PlainProgress } from '../../src/telemetry/index.ts';
import type { Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2 } from '../cases/models.ts';
import { FakeOutput } from '../unit/telemetry/fakeOutput.ts';
import { settings, tokens } from './engineSupport.ts';
import { scratchFolder } from './timelineSupport.ts';

interface Span {
  readonly lane: string;
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly args: Readonly<Record<string, number | string>>;
}

interface Trained {
  readonly spans: readonly Span[];
  readonly counters: Readonly<Record<string, number[]>>;
  readonly lanes: readonly string[];
  readonly plan: Plan;
  readonly report: MovementReport;
  readonly said: string;
}

const steps = 5;

/** Trains with nothing resident and everything spread over RAM and disk, and reads the file back. */
function train(folder: string, accumulate: number): Trained {
  const trace = path.join(folder, 'trace.json');
  const nvme = { path: path.join(folder, 'swap') };
  const context = launch(
    settings({
      train: { accumulate, clipNorm: null },
      runtime: { trace },
      memory: { gpu: '64MiB', cpu: '64MiB', nvme, policy: 'static', static: { hostParameters: 0.5, hostStates: 0 } },
    }),
  );
  const output = new FakeOutput();
  const progress = new PlainProgress(output, { logEvery: 1 });
  let plan: Plan;
  let report: MovementReport;
  {
    using observation = observe(context.config, progress);
    const model = new Gpt2(tinyGpt2());
    using engine = initialize<TokenBatch, Tensor>({ context, model, observer: observation.observer });
    for (let step = 0; step < steps; step++) {
      engine.zeroGrad();
      for (let microBatch = 0; microBatch < accumulate; microBatch++) {
        const { ids, labels } = tokens(2, 8, step + 1);
        engine.backward(engine.forward({ ids, labels } as TokenBatch));
        ids.dispose();
        labels.dispose();
      }
      engine.step();
    }
    const store = engine.store as ChunkStore;
    // Waits for what runs on behind the last step.
    store.prepareState();
    plan = store.plan!;
    report = store.report()!;
    observation.summarize(store);
  }
  return { ...readTrace(trace), plan, report, said: output.text };
}

function readTrace(file: string): Pick<Trained, 'spans' | 'counters' | 'lanes'> {
  type Event = {
    ph: string;
    name: string;
    tid: number;
    ts: number;
    dur: number;
    args: Record<string, number | string>;
  };
  const events = JSON.parse(readFileSync(file, 'utf8')) as Event[];
  const named = events.filter(({ name }) => name === 'thread_name');
  const lane = new Map(named.map(({ tid, args }) => [tid, String(args.name)]));
  const counters: Record<string, number[]> = {};
  for (const { ph, name, args } of events) {
    if (ph === 'C') counters[name] = [...(counters[name] ?? []), Number(args.bytes)];
  }
  const spans = events
    .filter(({ ph }) => ph === 'X')
    .map(({ tid, name, ts, dur, args }) => ({ lane: lane.get(tid)!, name, from: ts, to: ts + dur, args }));
  return { spans, counters, lanes: [...lane.values()] };
}

/** Clocks are read twice per boundary: on entering the native side and on leaving it. */
const toleranceUs = 5;

const inLane = ({ spans }: Trained, lane: string): Span[] => spans.filter((span) => span.lane === lane);

describe.each([1, 3])('the timeline of a step with %i micro-batches', (accumulate) => {
  let run: Trained;
  beforeAll(() => {
    const folder = scratchFolder();
    try {
      run = train(folder.path, accumulate);
    } finally {
      folder.dispose();
    }
  });

  it('names its lanes and tiers', () => {
    expect(run.lanes.slice(0, 8)).toEqual([
      'step',
      'compute',
      'waiting',
      'cpu to gpu',
      'gpu to cpu',
      'disk read',
      'disk write',
      'optimizer',
    ]);
    expect(Object.keys(run.counters).sort()).toEqual(['memory cpu', 'memory disk', 'memory gpu']);
    expect(Math.min(...run.counters['memory gpu']!)).toBeGreaterThanOrEqual(run.plan.arenaBytes.gpu);
  });

  it('shows every transfer and update of a step once, with its words', () => {
    const laneOf = {
      read: 'disk read',
      write: 'disk write',
      toDevice: 'cpu to gpu',
      toHost: 'gpu to cpu',
      update: 'optimizer',
    };
    const planned = run.plan.tickets.map(({ lane, chunk }) => `${laneOf[lane]} ${chunk}`).sort();
    expect(new Set(run.plan.tickets.map(({ lane }) => lane)).size).toBe(5);
    for (let step = 1; step <= steps; step++) {
      const moved = run.spans.filter(({ args, lane }) => args.step === step && 'bytes' in args && lane !== 'waiting');
      expect(new Set(moved.map(({ args }) => args.ticket)).size).toBe(moved.length);
      expect(moved.map(({ lane, args }) => `${lane.replace(/ \d+$/, '')} ${args.chunk}`).sort()).toEqual(planned);
    }
    const words = new Set(run.spans.map(({ name }) => name));
    for (const name of ['parameters from disk', 'states to disk', 'gradients to cpu', 'optimizer'])
      expect(words).toContain(name);
  });

  it('shows every moment of a step once, in order', () => {
    const planned = run.plan.moments.map(({ pass }) => pass);
    for (let step = 1; step <= steps; step++) {
      const computed = inLane(run, 'compute').filter(({ args }) => args.step === step);
      expect(computed.map(({ name }) => name.split(' ')[0])).toEqual(planned);
    }
  });

  it('never draws two spans over each other on one lane', () => {
    for (const lane of run.lanes) {
      const ordered = inLane(run, lane).sort((a, b) => a.from - b.from);
      for (const [index, span] of ordered.slice(1).entries()) {
        expect(span.from).toBeGreaterThanOrEqual(ordered[index]!.to - 0.001);
      }
    }
  });

  it('keeps compute and waits within their step, and waits where compute stands still', () => {
    const bounds = new Map(inLane(run, 'step').map((span) => [span.args.step, span]));
    expect([...bounds.keys()]).toEqual([1, 2, 3, 4, 5]);
    const computed = inLane(run, 'compute');
    const waited = inLane(run, 'waiting').filter(({ args }) => args.for !== 'drain');
    for (const { args, from, to } of [...computed, ...waited]) {
      const step = bounds.get(args.step)!;
      expect(from).toBeGreaterThanOrEqual(step.from - toleranceUs);
      expect(to).toBeLessThanOrEqual(step.to + toleranceUs);
    }
    for (const wait of waited) {
      const busy = computed.filter(({ from, to }) => from < wait.to - toleranceUs && to > wait.from + toleranceUs);
      expect(busy).toEqual([]);
    }
    for (const { args, from, name } of run.spans.filter((span) => 'bytes' in span.args)) {
      // The first fetches of a step start when the one before ends, also those of a step that never comes.
      const begins = bounds.get(args.step)?.from ?? Number.POSITIVE_INFINITY;
      const before = bounds.get(Number(args.step) - 1)?.to ?? Number.POSITIVE_INFINITY;
      const isFetch = name.startsWith('parameters') && !name.endsWith('to disk');
      expect(from).toBeGreaterThanOrEqual(isFetch ? Math.min(begins, before - toleranceUs) : begins);
    }
  });

  it('adds up to what the report says', () => {
    const { report, plan } = run;
    expect(report.steps).toBe(steps - 1);
    for (const lane of ['read', 'write', 'toDevice', 'toHost'] as const) {
      const planned = plan.tickets.filter((ticket) => ticket.lane === lane).reduce((sum, { bytes }) => sum + bytes, 0);
      expect(report.lanes[lane].bytes).toBeCloseTo(planned, 6);
    }
    const measured = (lane: string): number =>
      inLane(run, lane)
        .filter(({ args }) => Number(args.step) > 1 && args.for !== 'drain')
        .reduce((sum, { from, to }) => sum + (to - from), 0) /
      (steps - 1) /
      1e6;
    const waited = report.waits.reduce((sum, { seconds }) => sum + seconds, 0);
    expect(report.computeSeconds).toBeCloseTo(measured('compute'), 9);
    expect(waited).toBeCloseTo(measured('waiting'), 9);
    expect(report.stepSeconds).toBeCloseTo(measured('step'), 9);
    expect(report.computeSeconds + waited).toBeLessThanOrEqual(report.stepSeconds);
  });

  it('says what the plan decided and where the time went', () => {
    expect(run.said).toMatch(
      /^plan: parameters \d+% cpu, \d+% disk; states 100% disk; forecast .* a step, limited by /m,
    );
    expect(run.said).toMatch(/^ {2}disk to cpu +\S+ [KM]iB +\S+ m?s +\d+% +\S+ [MG]B\/s +\S+ [MG]B\/s$/m);
    expect(run.said).toMatch(/^ {2}computing +\S+ m?s +\d+% +planned \S+ m?s$/m);
  });
});

it('shows steps and units of training with everything resident, too', () => {
  const folder = scratchFolder();
  try {
    const trace = path.join(folder.path, 'trace.json');
    const context = launch(settings({ runtime: { trace } }));
    {
      using observation = observe(context.config, new PlainProgress(new FakeOutput(), { logEvery: 1 }));
      const model = new Gpt2(tinyGpt2());
      using engine = initialize<TokenBatch, Tensor>({ context, model, observer: observation.observer });
      for (let step = 0; step < 2; step++) {
        const batch = tokens(2, 8, step + 1);
        engine.backward(engine.forward(batch as TokenBatch));
        engine.step();
        for (const tensor of Object.values(batch)) tensor.dispose();
      }
    }
    const { spans } = readTrace(trace);
    const first = spans.filter(({ lane, args }) => lane === 'compute' && args.step === 1).map(({ name }) => name);
    expect(first.filter((name) => name.startsWith('forward'))).toHaveLength(5);
    expect(first.filter((name) => name.startsWith('backward'))).toHaveLength(5);
    expect(first.at(-1)).toBe('norm and update');
    const [one, two] = spans.filter(({ lane }) => lane === 'step');
    expect(two!.from).toBeGreaterThanOrEqual(one!.to);
    for (const { args, lane, from, to } of spans) {
      if (lane === 'step') continue;
      const step = args.step === 1 ? one! : two!;
      expect(from).toBeGreaterThanOrEqual(step.from);
      expect(to).toBeLessThanOrEqual(step.to);
    }
  } finally {
    folder.dispose();
  }
});
