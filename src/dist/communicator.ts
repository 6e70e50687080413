/** Connecting the ranks of a world, and making groups of them in one order that all ranks share. */
import { check, isTierraError, TierraError } from '../core/errors.ts';
import { packageVersion } from '../core/package.ts';
import type { DeviceName } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { agree, type Facts } from './agree.ts';
import { explainFailure } from './failure.ts';
import type { Group } from './group.ts';
import { NativeGroup } from './nativeGroup.ts';
import { below, MemoryStore, type OpenStore, openStore, type Store, storeIdOf } from './store.ts';
import { type Watch, watchPeers } from './watch/watch.ts';
import type { Backend, World } from './world.ts';

export interface ConnectOptions {
  /** Default: NCCL on a GPU, Gloo on the CPU. */
  readonly backend?: Backend;
  /** Where this rank's tensors are. */
  readonly device: DeviceName;
  /** How long a rank waits for the others, in groups and in the store. Default 600. */
  readonly timeoutSeconds?: number;
  /** Sums are added in rank order: the same bits in every run and for every algorithm. Default false. */
  readonly deterministic?: boolean;
  /** A rank that dies, hangs or fails ends all of them within seconds, with a message that names it. Default true. */
  readonly watch?: boolean;
  /** What must be the same on all ranks beside the versions of what they run, such as the configuration. */
  readonly facts?: Facts;
}

/** A rank among its peers. */
export interface Communicator {
  readonly world: World;
  readonly backend: Backend;
  readonly device: DeviceName;
  readonly deterministic: boolean;
  readonly timeoutSeconds: number;
  /** The job's keys. */
  readonly store: Store;
  /** All ranks. */
  readonly all: Group;
  /**
   * A group of some ranks; null on the others. Called by all ranks of the world in the same order with the same arguments:
   * `E_COLLECTIVE` names who asked for what otherwise.
   */
  group(name: string, ranks: readonly number[]): Group | null;
  /** Groups side by side, e.g. along a mesh's axis: returns the one this rank is in, null if none. One call for all of them. */
  split(name: string, parts: readonly (readonly number[])[]): Group | null;
  /** Every rank's value, as JSON, in rank order. */
  exchange<Value>(value: Value): Value[];
  /** The value of rank `root`, as JSON; the others' is ignored. */
  share<Value>(value: Value, root: number): Value;
  /** Disposes all groups and leaves the store; whoever serves it waits for the others to leave. */
  dispose(): void;
}

/** Meets the other ranks where `world.rendezvous` says. A process by itself needs nobody. */
export function connect(world: World, options: ConnectOptions): Communicator {
  const backend = options.backend ?? (options.device.startsWith('cuda') ? 'nccl' : 'gloo');
  const built = native().buildInfo;
  if (world.size > 1 && !built[backend]) {
    throw new TierraError(
      'E_UNSUPPORTED',
      `${world.size} ranks on ${options.device} need ${backend}, which this build lacks`,
      {
        hint: 'Run `npx tierra doctor`: it says what is missing. Then `npx tierra setup` builds again.',
      },
    );
  }
  if (backend === 'nccl' && !options.device.startsWith('cuda')) {
    throw new TierraError('E_CONFIG', `nccl moves bytes between GPUs, but the device is ${options.device}`, {
      hint: 'Use gloo between CPUs.',
    });
  }
  return new Ranks(world, backend, options);
}

function ownVersions(): Facts {
  const { contract, buildInfo } = native();
  return { tierra: packageVersion(), 'addon contract': contract, libtorch: buildInfo.torchVersion };
}

class Ranks implements Communicator {
  readonly world: World;
  readonly backend: Backend;
  readonly device: DeviceName;
  readonly deterministic: boolean;
  readonly timeoutSeconds: number;
  readonly store: Store;
  readonly all: Group;
  readonly #open: OpenStore;
  readonly #prefix: string;
  readonly #groups = new Set<Group>();
  readonly #watch: Watch | null;
  #groupCount = 0;
  #exchanges = 0;
  #left = false;

  constructor(world: World, backend: Backend, options: ConnectOptions) {
    this.world = world;
    this.backend = backend;
    this.device = options.device;
    this.deterministic = options.deterministic ?? false;
    this.timeoutSeconds = options.timeoutSeconds ?? 600;
    this.#open = this.#meet();
    this.#prefix = `tierra/${world.rendezvous?.attempt ?? 0}`;
    this.store = below(this.#prefix, this.#open);
    this.#watch = world.size > 1 && (options.watch ?? true) ? watchPeers(world, this.store) : null;
    agree(this, { ...ownVersions(), ...options.facts });
    this.all = this.split('all', [Array.from({ length: world.size }, (_, rank) => rank)])!;
  }

  #meet(): OpenStore {
    const { rank, size, rendezvous } = this.world;
    if (size === 1) return new MemoryStore();
    check(rendezvous !== null, `rank ${rank} of ${size} does not know where the ranks meet: world.rendezvous is null`);
    const { host, port, external, listenFd } = rendezvous;
    const server = rank === 0 && !external;
    const inherited = server && listenFd !== undefined ? { listenFd } : {};
    return openStore({ host, port, server, ...inherited, timeoutSeconds: this.timeoutSeconds });
  }

  group(name: string, ranks: readonly number[]): Group | null {
    return this.split(name, [ranks]);
  }

  split(name: string, parts: readonly (readonly number[])[]): Group | null {
    this.#checkParts(name, parts);
    const number = this.#groupCount++;
    this.#agree(number, `"${name}" of ranks ${parts.map((ranks) => `[${ranks}]`).join(' ')}`);
    const part = parts.findIndex((ranks) => ranks.includes(this.world.rank));
    const ranks = parts[part];
    if (ranks === undefined) return null;
    const rank = ranks.indexOf(this.world.rank);
    const id = native().groupCreate({
      name,
      backend: this.backend,
      ranks,
      rank,
      timeoutMs: this.timeoutSeconds * 1000,
      deterministic: this.deterministic,
      listenOn: this.#listenOn(),
      store: ranks.length === 1 ? null : storeIdOf(this.#open),
      prefix: `${this.#prefix}/group/${number}/${part}`,
    });
    const made = new NativeGroup(id, name, ranks, rank, (error, group) =>
      explainFailure(error, group, this.world.rank, this.store, this.#watch),
    );
    this.#groups.add(made);
    return made;
  }

  #checkParts(name: string, parts: readonly (readonly number[])[]): void {
    const ranks = parts.flat();
    const outside = ranks.find((rank) => !Number.isInteger(rank) || rank < 0 || rank >= this.world.size);
    check(outside === undefined, `group "${name}" names rank ${outside}, the world has ${this.world.size}`);
    check(new Set(ranks).size === ranks.length, `group "${name}" names a rank twice: ${JSON.stringify(parts)}`);
    check(
      parts.every((part) => part.length > 0),
      `group "${name}" has an empty part: ${JSON.stringify(parts)}`,
    );
  }

  /** Groups are told apart by the order they are made in, so all ranks must make the same ones. */
  #agree(number: number, wish: string): void {
    const { rank, size } = this.world;
    if (size === 1) return;
    const keyOf = (of: number): string => `wish/${number}/${of}`;
    this.store.set(keyOf(rank), wish);
    for (let other = 0; other < size; other++) {
      if (other === rank) continue;
      const theirs = this.#hear(keyOf(other), `rank ${other} to make group ${number}, here ${wish}`);
      if (theirs === wish) continue;
      throw new TierraError(
        'E_COLLECTIVE',
        `ranks disagree on group ${number}: rank ${rank} makes ${wish}, rank ${other} makes ${theirs}`,
        {
          hint: 'All ranks make all groups in the same order, also those they are not in.',
          details: { number, rank, wish, other, theirs },
        },
      );
    }
  }

  #hear(key: string, what: string): string {
    try {
      return this.store.get(key);
    } catch (error) {
      if (!isTierraError(error, 'E_COLLECTIVE')) throw error;
      throw new TierraError('E_COLLECTIVE', `rank ${this.world.rank} waited for ${what}: ${error.message}`, {
        hint: 'That rank has ended, hangs, or does something else: look at its output.',
        details: error.details,
        cause: error,
      });
    }
  }

  /** On one host the loopback address always works; elsewhere it is the interface that the user names. */
  #listenOn(): string {
    if (this.world.localSize === this.world.size) return '127.0.0.1';
    return process.env.GLOO_SOCKET_IFNAME ?? '';
  }

  exchange<Value>(value: Value): Value[] {
    const { rank, size } = this.world;
    const number = this.#exchanges++;
    const keyOf = (at: number, of: number): string => `exchange/${at}/${of}`;
    this.store.set(keyOf(number, rank), JSON.stringify(value) ?? 'null');
    const all = Array.from(
      { length: size },
      (_, other) => JSON.parse(this.#hear(keyOf(number, other), `rank ${other}'s part of exchange ${number}`)) as Value,
    );
    // Whoever takes part in this exchange has read all of the one before.
    if (number > 0) this.store.delete(keyOf(number - 1, rank));
    return all;
  }

  share<Value>(value: Value, root: number): Value {
    return this.exchange(this.world.rank === root ? value : null)[root] as Value;
  }

  dispose(): void {
    if (this.#left) return;
    this.#left = true;
    for (const group of this.#groups) group.dispose();
    try {
      this.#leave();
    } catch {
      // The store went with its server: there is nobody to say goodbye to.
    }
    this.#watch?.leave();
    this.#open.dispose();
  }

  #leave(): void {
    const { rank, size, rendezvous } = this.world;
    if (size === 1 || this.store.has('failures')) return;
    if (this.store.add('left', 1) === size) this.store.set('empty', '');
    if (rank === 0 && rendezvous?.external === false) this.store.wait(['empty'], Math.min(30, this.timeoutSeconds));
  }
}
