/** What stores that train with other ranks are made of. */
import type { AnyModule, Parameter, Unit, ValueSource } from '../../nn/index.ts';
import type { GradientNorms, SumsAgreement } from '../../offload/norms.ts';
import type { ParameterStore } from '../../offload/store.ts';
import type { Dtype } from '../../tensor/index.ts';
import type { Group } from '../group.ts';

/**
 * When gradients are added up over ranks. `each`: those of every micro-batch, so that only this rank's shard has to be
 * kept. `last`: sums over the step's micro-batches, once; every rank keeps them whole meanwhile.
 */
export type ReduceWhen = 'each' | 'last';

/** The ranks over which a parameter's gradient is added up: all that have a copy of it, or a part of a copy under ZeRO. */
export interface Copies {
  /** Ranks among which one copy of the states is spread; without ZeRO each has a copy. */
  readonly shards: Group;
  /** Ranks that hold the same part of other copies; null for a single copy. */
  readonly replicas: Group | null;
}

/** What a store below is to keep: the model, or this rank's part of it. */
export interface Kept {
  readonly model: AnyModule;
  readonly units: readonly Unit[];
  readonly groupOf: (parameter: Parameter) => number;
  readonly values: ValueSource;
  readonly norms?: GradientNorms;
  /** Bytes of the compute device that are taken already. */
  readonly takenBytes: number;
}

export interface DataParallelOptions {
  readonly model: AnyModule;
  readonly units: readonly Unit[];
  readonly groupOf: (parameter: Parameter) => number;
  /** First values of the model's parameters. */
  readonly values: ValueSource;
  /** The same object for all parameters with the same copies; ranks that share a group have them in one order. */
  readonly copiesOf: (parameter: Parameter) => Copies;
  readonly reduce: ReduceWhen;
  readonly dtype: Dtype;
  readonly device: string;
  readonly threads: number;
  /** Where ranks that share no batch with this one hold other parts of the model. */
  readonly agree?: SumsAgreement;
  /** Makes the store below, which knows nothing of ranks. */
  readonly below: (kept: Kept) => ParameterStore;
}
