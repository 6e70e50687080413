/** What a pipeline did, as a timeline and in numbers. */
import { isTransfer, label, type PipelineEvent } from '../dist/pipeline/index.ts';
import { TraceWriter } from '../telemetry/index.ts';

export interface PipelineTimeline extends Disposable {
  /** For `initialize({ onPipelineEvent })`. */
  readonly observe: (event: PipelineEvent) => void;
}

/** The rank's actions go to `path`, computation and transfers on lanes of their own; `mergeTraces` puts ranks side by side. */
export function pipelineTimeline(path: string, rank: number): PipelineTimeline {
  const lanes = ['compute', 'transfers'];
  const writer = new TraceWriter(path, { process: { id: rank, name: `rank ${rank}` }, lanes });
  return {
    observe({ action, startMs, durationMs, waitMs }) {
      const { kind, stage, microBatch } = action;
      writer.span({
        lane: isTransfer(action) ? 'transfers' : 'compute',
        name: label(action),
        // The host's clock, which ranks of a node share.
        startUs: (performance.timeOrigin + startMs) * 1e3,
        durationUs: durationMs * 1e3,
        args: { kind, stage, microBatch, waitMs },
      });
    },
    [Symbol.dispose]: () => writer.close(),
  };
}

/** One rank's events of one step in numbers. */
export interface MeasuredRank {
  /** From the first start to the last end of computation, on the host's clock. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** Computing, without waiting for other ranks. */
  readonly busyMs: number;
  /** Inside the calls that start sends and receives. */
  readonly transferMs: number;
}

export function measureRank(events: readonly PipelineEvent[]): MeasuredRank {
  const work = events.filter(({ action }) => !isTransfer(action));
  return {
    firstMs: performance.timeOrigin + Math.min(...work.map(({ startMs }) => startMs)),
    lastMs: performance.timeOrigin + Math.max(...work.map(({ startMs, durationMs }) => startMs + durationMs)),
    busyMs: work.reduce((sum, { durationMs, waitMs }) => sum + durationMs - waitMs, 0),
    transferMs: events.reduce((sum, { action, durationMs }) => sum + (isTransfer(action) ? durationMs : 0), 0),
  };
}

/** The bubble as the formulas define it: the share of all ranks' time, first start to last end, in which nothing is computed. */
export function measuredBubble(ranks: readonly MeasuredRank[]): number {
  const first = Math.min(...ranks.map(({ firstMs }) => firstMs));
  const last = Math.max(...ranks.map(({ lastMs }) => lastMs));
  return 1 - ranks.reduce((sum, { busyMs }) => sum + busyMs, 0) / (ranks.length * (last - first));
}
