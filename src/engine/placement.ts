import type { AnyModule, Unit, ValueSource } from '../nn/index.ts';
import { ResidentStore } from '../offload/resident/residentStore.ts';
import type { ParameterStore } from '../offload/store.ts';
import type { Context } from './launch.ts';
import type { UpdateSchedule } from './updateSchedule.ts';

/** The store that the `memory:` section asks for. */
export function createStore(
  model: AnyModule,
  _units: readonly Unit[],
  context: Context,
  updates: UpdateSchedule,
  values?: ValueSource,
): ParameterStore {
  return new ResidentStore(model, {
    seed: context.config.seed,
    dtype: context.dtype,
    device: context.device,
    groupOf: (parameter) => updates.groupOf(parameter),
    moments: updates.moments,
    threads: context.optimizerThreads,
    ...(values === undefined ? {} : { values }),
  });
}
