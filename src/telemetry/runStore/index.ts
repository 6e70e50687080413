export {
  type CheckpointDetails,
  checkpointsOf,
  type EvaluationDetails,
  type EventDetails,
  evaluationsOf,
  eventsOf,
  type MemoryDetails,
  type MovementDetails,
  memoryOf,
  movementOf,
  type RunDetails,
  runDetails,
  type SessionDetails,
  type SessionOutcome,
} from './details.ts';
export type { Database } from './driver.ts';
export { findRun } from './find.ts';
export { openStore } from './openStore.ts';
export { lastLossOf, type Piece as StepPiece, piecesOf } from './pieces.ts';
export { type Point, pointsOf, totalOf } from './points.ts';
export { StoreRecord, type StoreRecordOptions } from './storeRecord.ts';
