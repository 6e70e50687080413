export { createProgress } from './createProgress.ts';
export { type LiveOptions, LiveProgress } from './liveProgress.ts';
export { type MovementFigures, movementText, type PlanFigures, planText, tierNames } from './memorySummary.ts';
export { mergeTraces } from './mergeTraces.ts';
export { PlainProgress } from './plainProgress.ts';
export type {
  EvaluationReport,
  EventKind,
  Progress,
  RecordedAs,
  RunFinish,
  RunStart,
  SavedReport,
  StepReport,
  TierName,
  TierUse,
} from './progress.ts';
export { rankProgress } from './rankProgress.ts';
export { noRecord, type RunOutcome, type RunRecord, type StepRow } from './record/record.ts';
export { RecordingProgress } from './record/recordingProgress.ts';
export { SpanPacker } from './spanPacker.ts';
export { type Output, painter, wantsColor } from './terminal.ts';
export { ThroughputMeter } from './throughput.ts';
export { type TraceCounter, type TraceOptions, type TraceSpan, TraceWriter } from './trace.ts';
