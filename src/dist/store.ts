/** Where ranks meet and leave each other small values: votes, versions, metadata. Served by one process over TCP. */
import { TierraError } from '../core/errors.ts';
import type { StoreId } from '../native/binding.ts';
import { native } from '../native/load.ts';

export interface Store {
  set(key: string, value: string): void;
  /** Waits until the key is there; `E_COLLECTIVE` after `timeoutSeconds` (default: the store's). */
  get(key: string, timeoutSeconds?: number): string;
  /** Adds to a counter, which starts at 0, and returns the sum: the same number to nobody else. */
  add(key: string, amount: number): number;
  /** Waits until all keys are there. */
  wait(keys: readonly string[], timeoutSeconds?: number): void;
  has(key: string): boolean;
  delete(key: string): void;
}

/** A store over TCP. */
export interface OpenStore extends Store {
  /** The port it is served on. */
  readonly port: number;
  /** In the serving process: ends the service. */
  dispose(): void;
}

export interface OpenStoreOptions {
  readonly host: string;
  /** 0 takes a free port when serving. */
  readonly port: number;
  /** True in the one process that serves the store; it uses it like the others. */
  readonly server: boolean;
  /** In the server: a socket that already listens on the port, inherited from whoever bound it. */
  readonly listenFd?: number;
  readonly timeoutSeconds: number;
}

/** Serves a store or joins one, waiting for its server up to the time-out. */
export function openStore(options: OpenStoreOptions): OpenStore {
  const { host, port, server, listenFd = null, timeoutSeconds } = options;
  const timeoutMs = timeoutSeconds * 1000;
  return new TcpStore(native().storeOpen({ host, port, server, listenFd, timeoutMs }), timeoutSeconds);
}

class TcpStore implements OpenStore {
  readonly port: number;
  #id: StoreId | null;
  readonly #timeoutSeconds: number;

  constructor(id: StoreId, timeoutSeconds: number) {
    this.#id = id;
    this.#timeoutSeconds = timeoutSeconds;
    this.port = native().storePort(id);
  }

  /** For groups, which meet in it. */
  get id(): StoreId {
    if (this.#id === null) throw new TierraError('E_STATE', 'the store was already closed');
    return this.#id;
  }

  set(key: string, value: string): void {
    native().storeSet(this.id, key, new TextEncoder().encode(value));
  }

  get(key: string, timeoutSeconds = this.#timeoutSeconds): string {
    return new TextDecoder().decode(native().storeGet(this.id, key, timeoutSeconds * 1000));
  }

  add(key: string, amount: number): number {
    return native().storeAdd(this.id, key, amount);
  }

  wait(keys: readonly string[], timeoutSeconds = this.#timeoutSeconds): void {
    native().storeWait(this.id, keys, timeoutSeconds * 1000);
  }

  has(key: string): boolean {
    return native().storeHas(this.id, key);
  }

  delete(key: string): void {
    native().storeDelete(this.id, key);
  }

  dispose(): void {
    if (this.#id === null) return;
    native().storeClose(this.#id);
    this.#id = null;
  }
}

/** The native id of a store over TCP; null for one in memory. */
export const storeIdOf = (store: Store): StoreId | null => (store instanceof TcpStore ? store.id : null);

/** The store of a process by itself. */
export class MemoryStore implements OpenStore {
  readonly port = 0;
  readonly #values = new Map<string, string>();

  set(key: string, value: string): void {
    this.#values.set(key, value);
  }

  get(key: string): string {
    this.wait([key]);
    return this.#values.get(key)!;
  }

  add(key: string, amount: number): number {
    const sum = Number(this.#values.get(key) ?? 0) + amount;
    this.#values.set(key, String(sum));
    return sum;
  }

  wait(keys: readonly string[]): void {
    const missing = keys.find((key) => !this.#values.has(key));
    if (missing !== undefined) {
      throw new TierraError('E_COLLECTIVE', `waiting for ${missing} in the store: nobody else is there to set it`);
    }
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  delete(key: string): void {
    this.#values.delete(key);
  }

  dispose(): void {}
}

/** The same store with all keys below `prefix`. */
export function below(prefix: string, store: Store): Store {
  const at = (key: string): string => `${prefix}/${key}`;
  return {
    set: (key, value) => store.set(at(key), value),
    get: (key, timeoutSeconds) => store.get(at(key), timeoutSeconds),
    add: (key, amount) => store.add(at(key), amount),
    wait: (keys, timeoutSeconds) => store.wait(keys.map(at), timeoutSeconds),
    has: (key) => store.has(at(key)),
    delete: (key) => store.delete(at(key)),
  };
}
