import { extname } from 'node:path';
import type { Config } from '../config/index.ts';
import type { Progress } from '../telemetry/index.ts';

export interface TrainingIo {
  readonly progress: Progress;
  /** Aborted to stop cleanly after the current step. */
  readonly signal: AbortSignal;
}

export interface GenerationIo {
  /** Folder of the checkpoint. */
  readonly checkpoint: string;
  /** Receives text as it is generated. */
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

export type RunTraining = (config: Config, io: TrainingIo) => Promise<void>;
export type RunGeneration = (config: Config, io: GenerationIo) => Promise<void>;

/** The engine brings libtorch with it, so it is loaded only by the commands that compute. */
export async function loadTraining(): Promise<RunTraining> {
  return ((await load('run')) as { runTraining: RunTraining }).runTraining;
}

export async function loadGeneration(): Promise<RunGeneration> {
  return ((await load('generate')) as { runGeneration: RunGeneration }).runGeneration;
}

export async function loadPlanning(): Promise<typeof import('../engine/planning.ts').runPlanning> {
  return ((await load('planning')) as typeof import('../engine/planning.ts')).runPlanning;
}

export async function loadCluster(): Promise<typeof import('../engine/planCluster.ts')> {
  return (await load('planCluster')) as typeof import('../engine/planCluster.ts');
}

export async function loadBestMesh(): Promise<typeof import('../engine/planMesh.ts')> {
  return (await load('planMesh')) as typeof import('../engine/planMesh.ts');
}

export async function loadLargest(): Promise<typeof import('../engine/planLargest.ts').planLargest> {
  return ((await load('planLargest')) as typeof import('../engine/planLargest.ts')).planLargest;
}

const load = (name: string): Promise<unknown> =>
  import(new URL(`../engine/${name}${extname(import.meta.url)}`, import.meta.url).href);
