/** What a store on chunks is made with, and everything that exists once its step is planned. */
import type { Machine, ParkingTier, PlacementPolicy, StateFormat } from '../../memory/index.ts';
import type { Parameter, ValueSource } from '../../nn/index.ts';
import type { Dtype } from '../../tensor/index.ts';
import type { GradientNorms } from '../norms.ts';
import type { StoreObserver } from '../observer.ts';
import type { Parking } from '../parking/parking.ts';
import type { UpdateSettings } from '../store.ts';
import type { Homes } from './homes.ts';
import type { OnDemand } from './onDemand.ts';
import type { Compiled } from './planning.ts';
import type { StepRecorder } from './report.ts';
import type { DiskOptions, Tiers } from './tiers.ts';
import type { Views } from './views.ts';
import type { Walker } from './walker.ts';

export interface ChunkStoreOptions {
  readonly seed: number;
  readonly dtype: Dtype;
  /** How AdamW's states are kept; default exact. Compressed ones are for bf16 and fp32. */
  readonly states?: StateFormat;
  readonly device: string;
  readonly updateAt: (step: number) => UpdateSettings;
  readonly groupOf: (parameter: Parameter) => number;
  readonly values?: ValueSource;
  /** Called once first values are where they belong; they are asked for again if that was for forward passes only. */
  readonly placed?: (trains: boolean) => void;
  readonly threads: number;
  readonly budgets: { readonly gpu: number; readonly host: number; readonly nvme: number };
  readonly disk: DiskOptions | null;
  readonly policy: PlacementPolicy;
  readonly speculate: 'auto' | 'always' | 'never';
  /** Where units whose activations are parked keep their inputs meanwhile. */
  readonly parkOn?: ParkingTier;
  readonly chunkElements?: number;
  readonly machine: Machine;
  readonly observer?: StoreObserver;
  /** Default: `StepNorms`. */
  readonly norms?: GradientNorms;
}

export interface Planned extends Omit<Compiled, 'parking'> {
  readonly tiers: Tiers;
  readonly homes: Homes;
  readonly views: Views;
  readonly walker: Walker;
  readonly onDemand: OnDemand;
  readonly recorder: StepRecorder;
  /** Null where nothing is parked. */
  readonly parking: Parking | null;
}
