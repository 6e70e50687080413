/** Executors and short ways to write tickets. */
import type {
  ArenaId,
  CopyTicket,
  DiskTicket,
  ExecutorId,
  SaveTicket,
  SwapId,
  SwapOptions,
  TicketId,
} from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { type Bench, mib, withSwap } from './swapSupport.ts';

export interface Stage extends Bench {
  readonly executor: ExecutorId;
}

export function withExecutor<T>(changes: Partial<SwapOptions>, body: (stage: Stage) => T): T {
  return withSwap(changes, (bench) => {
    const executor = native().executorCreate({ device: -1, updateThreads: 2, scaleCells: 4, timelineCapacity: 10_000 });
    try {
      return body({ ...bench, executor });
    } finally {
      native().executorDestroy(executor);
    }
  });
}

export const id = (value: number) => value as TicketId;

const common = { after: [] as TicketId[], afterMoment: -1, afterCell: -1, cause: 'test', chunk: 0, step: 0 };

export function copy(
  number: number,
  arena: ArenaId,
  from: number,
  to: number,
  changes: Partial<CopyTicket> = {},
): CopyTicket {
  return {
    ...common,
    id: id(number),
    lane: 'toDevice',
    source: arena,
    sourceOffset: from,
    target: arena,
    targetOffset: to,
    bytes: mib,
    ...changes,
  };
}

export function save(number: number, arena: ArenaId, changes: Partial<SaveTicket>): SaveTicket {
  return { ...common, id: id(number), lane: 'save', arena, pieces: [], finish: [], ...changes };
}

export function disk(
  number: number,
  lane: 'read' | 'write',
  swap: SwapId,
  arena: ArenaId,
  changes: Partial<DiskTicket> = {},
): DiskTicket {
  return { ...common, id: id(number), lane, swap, swapOffset: 0, arena, arenaOffset: 0, bytes: mib, ...changes };
}
