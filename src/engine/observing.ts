/** What a run shows of its memory: the plan, the timeline, and a summary at the end. */
import path from 'node:path';
import type { Config } from '../config/index.ts';
import type { StoreObserver, TimelineBatch, TimelineLane } from '../offload/observer.ts';
import type { ParameterStore } from '../offload/store.ts';
import { movementText, type Progress, planText, SpanPacker, TraceWriter, tierNames } from '../telemetry/index.ts';

/** Lanes of the timeline by their names, in the order in which they are shown. */
const laneNames: Readonly<Record<TimelineLane, string>> = {
  step: 'step',
  compute: 'compute',
  submitted: 'compute (as submitted)',
  wait: 'waiting',
  toDevice: 'cpu to gpu',
  toHost: 'gpu to cpu',
  read: 'disk read',
  write: 'disk write',
  update: 'optimizer',
  stage: 'checkpoint',
  save: 'checkpoint',
};

export interface Observation extends Disposable {
  readonly observer: StoreObserver;
  /** Says what the run moved and waited for; nothing where nothing moves. */
  summarize(store: ParameterStore): void;
}

/** Lanes that are there from the beginning: what is computed behind the host is seen only where everything is resident. */
const shownLanes = new Set(Object.values(laneNames).filter((name) => name !== laneNames.submitted));

/** Plans are told to `progress`; the timeline goes to the file that `runtime.trace` names, if it names one. */
export function observe(config: Config, progress: Progress, rank = 0): Observation {
  const trace = config.runtime.trace === null ? null : ofRank(config.runtime.trace, rank);
  const writer = trace === null ? null : new TraceWriter(path.resolve(trace), { lanes: [...shownLanes] });
  const packer = new SpanPacker();
  const observer: StoreObserver = {
    planned: (plan) => progress.note(planText(plan)),
    replanned: (change) => progress.warn(`planned the step anew: ${change}`),
    ...(writer !== null && { timeline: (batch: TimelineBatch) => write({ writer, packer, progress }, batch) }),
  };
  return {
    observer,
    summarize(store) {
      const report = store.report?.() ?? null;
      if (report !== null) progress.note(movementText(report));
    },
    [Symbol.dispose]: () => writer?.close(),
  };
}

interface Target {
  readonly writer: TraceWriter;
  readonly packer: SpanPacker;
  readonly progress: Progress;
}

function write({ writer, packer, progress }: Target, batch: TimelineBatch): void {
  for (const { lane, name, startUs, durationUs, details } of packer.inOrder(batch.entries)) {
    const shown = packer.lane(laneNames[lane], startUs, durationUs);
    writer.span({ lane: shown, name, startUs, durationUs, args: details });
  }
  for (const { atUs, uses } of batch.counters) {
    for (const { tier, usedBytes } of uses) {
      writer.counter({ name: `memory ${tierNames[tier]}`, atUs, values: { bytes: usedBytes } });
    }
  }
  if (batch.dropped > 0) progress.warn(`the timeline is missing ${batch.dropped} spans of one step`);
}

/** `trace.json`, and `trace.rank-1.json` for the next rank. */
function ofRank(file: string, rank: number): string {
  if (rank === 0) return file;
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.rank-${rank}${ext}`);
}
