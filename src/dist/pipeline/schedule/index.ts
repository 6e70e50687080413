export { buildSchedule, chunksOf, type ScheduleSettings } from './build.ts';
export { checkSchedule } from './check.ts';
export { type ScheduleCosts, unitCosts } from './costs.ts';
export { draw } from './draw.ts';
export { type BubbleInput, closedFormBubble } from './formulas.ts';
export { forwardOnly } from './forwardOnly.ts';
export { type RankOutcome, type SimulatedEvent, type Simulation, simulate, type TransferModel } from './simulate.ts';
export { withTransfers } from './transfers.ts';
export {
  type Action,
  type ComputeAction,
  type ComputeKind,
  type ComputeOrder,
  isTransfer,
  label,
  type Placement,
  rankOfStage,
  type Schedule,
  type ScheduleMaker,
  type ScheduleName,
  scheduleNames,
  stagesOfRank,
  type TransferAction,
} from './types.ts';
