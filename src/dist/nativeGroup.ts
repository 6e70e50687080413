/** `Group` over the addon: collectives start at once; failures carry the stack of the call that started them. */
import { isTierraError, TierraError } from '../core/errors.ts';
import { whileWaiting } from '../core/whereabouts.ts';
import type { GroupId, WorkId } from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { Tensor } from '../tensor/index.ts';
import type { CollectiveCounter, CollectiveName, Group, Reduction, Work } from './group.ts';

/** Told of a failed collective before it is thrown; returns what to throw. */
export type OnFailure = (error: TierraError, group: Group) => TierraError;

export class NativeGroup implements Group {
  readonly name: string;
  readonly ranks: readonly number[];
  readonly rank: number;
  #id: GroupId | null;
  readonly #onFailure: OnFailure;

  constructor(id: GroupId, name: string, ranks: readonly number[], rank: number, onFailure: OnFailure) {
    this.#id = id;
    this.name = name;
    this.ranks = ranks;
    this.rank = rank;
    this.#onFailure = onFailure;
  }

  get size(): number {
    return this.ranks.length;
  }

  /** What names this group to operators of the addon. Throws `E_STATE` after disposal. */
  get id(): GroupId {
    if (this.#id === null) throw new TierraError('E_STATE', `the group "${this.name}" was disposed`);
    return this.#id;
  }

  #started(collective: CollectiveName, work: WorkId): Work {
    return new NativeWork(work, `${collective} of "${this.name}"`, (error) => this.#onFailure(error, this));
  }

  allReduce(tensor: Tensor, reduction: Reduction = 'sum'): Work {
    return this.#started('allReduce', native().groupAllReduce(this.id, tensor.handle, reduction));
  }

  allGather(into: Tensor, from: Tensor): Work {
    return this.#started('allGather', native().groupAllGather(this.id, into.handle, from.handle));
  }

  reduceScatter(into: Tensor, from: Tensor): Work {
    return this.#started('reduceScatter', native().groupReduceScatter(this.id, into.handle, from.handle));
  }

  broadcast(tensor: Tensor, root: number): Work {
    return this.#started('broadcast', native().groupBroadcast(this.id, tensor.handle, root));
  }

  reduce(tensor: Tensor, root: number): Work {
    return this.#started('reduce', native().groupReduce(this.id, tensor.handle, root));
  }

  allToAll(into: Tensor, from: Tensor, intoSplits: readonly number[] = [], fromSplits: readonly number[] = []): Work {
    return this.#started('allToAll', native().groupAllToAll(this.id, into.handle, from.handle, intoSplits, fromSplits));
  }

  send(tensor: Tensor, to: number, tag = 0): Work {
    return this.#started('send', native().groupSend(this.id, tensor.handle, to, tag));
  }

  receive(tensor: Tensor, from: number, tag = 0): Work {
    return this.#started('receive', native().groupReceive(this.id, tensor.handle, from, tag));
  }

  barrier(): void {
    this.#started('barrier', native().groupBarrier(this.id)).wait();
  }

  counters(): Readonly<Record<CollectiveName, CollectiveCounter>> {
    return native().groupCounters(this.id) as Readonly<Record<CollectiveName, CollectiveCounter>>;
  }

  resetCounters(): void {
    native().groupResetCounters(this.id);
  }

  dispose(): void {
    if (this.#id === null) return;
    const id = this.#id;
    this.#id = null;
    native().groupDestroy(id);
  }
}

class NativeWork implements Work {
  #id: WorkId | null;
  #failure: TierraError | null = null;
  readonly #what: string;
  readonly #startedAt = new Error('the collective was started here');
  readonly #onFailure: (error: TierraError) => TierraError;

  constructor(id: WorkId, what: string, onFailure: (error: TierraError) => TierraError) {
    this.#id = id;
    this.#what = what;
    this.#onFailure = onFailure;
  }

  wait(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#id === null) return;
    const id = this.#id;
    this.#id = null;
    try {
      whileWaiting(this.#what, () => native().workWait(id));
    } catch (error) {
      if (!isTierraError(error, 'E_COLLECTIVE')) throw error;
      this.#failure = this.#onFailure(withCause(error, this.#startedAt));
      throw this.#failure;
    }
  }
}

function withCause(error: TierraError, cause: Error): TierraError {
  const { hint, details } = error;
  return new TierraError(error.code, error.message, { details, cause, ...(hint === undefined ? {} : { hint }) });
}

/** The addon's number of a group, for operators that communicate. Throws `E_ARGUMENT` for a group made elsewhere. */
export function groupId(group: Group): number {
  if (group instanceof NativeGroup) return group.id;
  throw new TierraError('E_ARGUMENT', `group "${group.name}" was not made by a communicator`);
}
