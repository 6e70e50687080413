/** Micro-batches as graphs of launches, where that is possible and worth it: `runtime.graphs`. Bits are those of plain steps. */
import type { Config } from '../../config/index.ts';
import { formatBytes } from '../../core/units.ts';
import { noteUnit } from '../../core/whereabouts.ts';
import { native } from '../../native/load.ts';
import type { AnyModule, Module } from '../../nn/index.ts';
import type { ParameterStore } from '../../offload/store.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { Context } from '../launch.ts';
import { kindOf } from './kind.ts';
import { GraphPolicy } from './policy.ts';
import { RecordedMicroBatch } from './recordedMicroBatch.ts';

/** One micro-batch, as the engine would run it. */
export interface MicroBatch<Input> {
  readonly input: Input;
  /** Weight of its loss in backward. */
  readonly scale: number;
  /** Forward and backward, operator by operator; returns the loss. */
  plain(): Tensor;
  /** What comes before `plain` by itself: to be called before a recording, and once more where `plain` follows a failed one. */
  begin(): void;
  /** The micro-batch went through forward and backward, but not by `plain`. */
  done(): void;
}

export class MicroBatchGraphs<Input> {
  readonly #device: string;
  readonly #model: Module<[Input], unknown>;
  readonly #store: ParameterStore;
  readonly #policy: GraphPolicy | null;
  #recorded: RecordedMicroBatch<Input> | null = null;
  #note: string | null = null;

  constructor(context: Context, model: Module<[Input], unknown>, store: ParameterStore) {
    const { graphs } = context.config.runtime;
    const obstacle = obstacleTo(graphs, context, model as AnyModule, store);
    this.#device = context.device;
    this.#model = model;
    this.#store = store;
    this.#policy = graphs === 'never' || obstacle !== null ? null : new GraphPolicy(graphs);
    if (graphs === 'always' && obstacle !== null) this.#note = `runtime.graphs: always has no effect, ${obstacle}`;
  }

  /** What a person should know: null as long as there is nothing. */
  get note(): string | null {
    return this.#note;
  }

  /** Whether a graph is there. */
  get isRecorded(): boolean {
    return this.#recorded !== null;
  }

  /** Forward and backward of a micro-batch, one way or another. Returns the loss. */
  run(microBatch: MicroBatch<Input>): Tensor {
    const policy = this.#policy;
    switch (policy?.next(this.#kindOf(microBatch))) {
      case 'timed':
        return this.#time(microBatch, policy);
      case 'record':
        return this.#record(microBatch, policy) ? this.#replay(microBatch) : microBatch.plain();
      case 'replay':
        microBatch.begin();
        return this.#replay(microBatch);
      default:
        return microBatch.plain();
    }
  }

  /** The scale is a number of the graph, and so is which gradients there are. */
  #kindOf({ input, scale }: MicroBatch<Input>): string | null {
    const kind = kindOf(input, this.#device);
    if (kind === null) return null;
    const trained = (this.#model as AnyModule).parameters().map(({ trainable }) => (trainable ? 1 : 0));
    return `${kind} ${scale} ${trained.join('')}`;
  }

  #time({ plain }: MicroBatch<Input>, policy: GraphPolicy): Tensor {
    native().synchronize(this.#device);
    const began = performance.now();
    const loss = plain();
    const submitted = performance.now();
    native().synchronize(this.#device);
    const ended = performance.now();
    policy.timed({ submitSeconds: (submitted - began) / 1e3, waitSeconds: (ended - submitted) / 1e3 });
    return loss;
  }

  /** False when it failed: then the micro-batch is as if nothing had been tried. */
  #record({ input, scale, begin }: MicroBatch<Input>, policy: GraphPolicy): boolean {
    begin();
    this.dispose();
    try {
      const forward = (fixed: Input): Tensor => this.#model.call(fixed) as Tensor;
      const recorded = new RecordedMicroBatch({ device: this.#device, input, forward, scale });
      this.#recorded = recorded;
      this.#note ??= `forward and backward are replayed as a graph of ${recorded.nodes} launches, which takes ${formatBytes(recorded.bytes)} of the GPU (runtime.graphs)`;
      policy.recorded();
      return true;
    } catch (error) {
      policy.failed();
      this.#note = `not replayed as a graph (runtime.graphs): ${error instanceof Error ? error.message : error}`;
      begin();
      return false;
    }
  }

  #replay({ input, done }: MicroBatch<Input>): Tensor {
    noteUnit('all units, replayed');
    let loss: Tensor | null = null;
    this.#store.replay!(() => {
      loss = this.#recorded!.replay(input, this.#store);
    });
    done();
    return loss!;
  }

  dispose(): void {
    this.#recorded?.dispose();
    this.#recorded = null;
  }
}

/** Why forward and backward cannot be one graph; null: nothing is known. */
function obstacleTo(
  mode: Config['runtime']['graphs'],
  { device, world }: Context,
  model: AnyModule,
  store: ParameterStore,
): string | null {
  if (!device.startsWith('cuda')) return `it is for GPUs, not for ${device}`;
  if (world.size > 1) return 'several ranks train together';
  if (store.replay === undefined) return 'parameters move between tiers';
  const drawing = Array.from(model.namedModules()).find(([, module]) => module.drawsRandom);
  if (drawing !== undefined) return `${drawing[0] === '' ? 'the model' : drawing[0]} draws random numbers`;
  if (mode === 'auto' && !model.repeatable) return 'the model does not say that it is repeatable';
  return null;
}
