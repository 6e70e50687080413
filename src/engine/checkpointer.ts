/** Checkpoints of a run while it trains: begun between two steps, written behind the next ones. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TierraError } from '../core/errors.ts';
import { withIo } from '../core/files.ts';
import { hostMemory } from '../core/hostMemory.ts';
import { KiB, MiB, roundUp } from '../core/units.ts';
import type { DataPosition } from '../data/index.ts';
import type { AppendFileId, ArenaId } from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { RunningSave, SaveOrder, Staging } from '../offload/saving.ts';
import { dtypeBytes } from '../tensor/index.ts';
import { layOutShards } from '../tensor/safetensors/index.ts';
import {
  type BegunCheckpoint,
  beginCheckpoint,
  checkpointPlaces,
  discardCheckpoint,
  notWritten,
} from './checkpoint/begin.ts';
import { Committer } from './checkpoint/committer.ts';
import { currentRunId, type ManifestFile, type WrittenCheckpoint } from './checkpoint/index.ts';
import type { Engine } from './engine.ts';
import {
  manifestFieldsFor,
  policyOf,
  type SaveContext,
  saveCheckpoint,
  smallFilesFor,
  tensorDeclaration,
} from './saving.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
type AnyEngine = Engine<any, any, any>;

/** How a save went, told when it is over. */
export interface SaveReport {
  readonly step: number;
  readonly written: WrittenCheckpoint;
  /** Time in which training stood still because of it, as far as this thread knows: beginning it, and waiting for one before. */
  readonly blockedMs: number;
  /** From the beginning until the checkpoint had its name. */
  readonly totalMs: number;
}

export interface CheckpointerEvents {
  saved(report: SaveReport): void;
  /** A save that failed while training went on. The checkpoints before it are untouched. */
  failed(error: unknown, step: number): void;
}

interface OpenFile {
  readonly id: AppendFileId;
  /** Inside the checkpoint. */
  readonly path: string;
}

/** Asked this often whether the last byte has been written; the thread that trains asks between steps only. */
const pollMs = 5;

export class Checkpointer {
  readonly #engine: AnyEngine;
  readonly #context: SaveContext;
  readonly #events: CheckpointerEvents;
  readonly #committer = new Committer();
  #staging: Staging | null = null;
  #current: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(engine: AnyEngine, context: SaveContext, events: CheckpointerEvents) {
    this.#engine = engine;
    this.#context = context;
    this.#events = events;
  }

  /** Why saves of this run hold training up until they are written; null when they do not. */
  get synchronous(): string | null {
    const order = this.#order();
    return typeof order === 'string' ? order : null;
  }

  /** Files are hashed front to back, so their tensors must lie as the store hands them out: widest element first. */
  #order(): SaveOrder | string {
    if (this.#engine.ranks.everyone.size > 1) return 'its state is spread over processes';
    const order = this.#engine.store.saveOrder?.() ?? 'its state is spread over processes';
    if (typeof order === 'string') return order;
    const widths = (weights: boolean): number =>
      new Set(order.tensors.filter(({ kind }) => (kind === 'weight') === weights).map(({ dtype }) => dtypeBytes(dtype)))
        .size;
    return widths(true) > 1 || widths(false) > 1 ? 'its tensors have elements of different sizes' : order;
  }

  /**
   * Takes the buffer, with its pages, and starts the thread, which hold training up at the first save otherwise: gigabytes of the buffer
   * are page-locked beside a GPU. The store has its plan by then. Throws `E_OUT_OF_MEMORY`.
   */
  prepare(): void {
    const order = this.#order();
    if (typeof order === 'string') return;
    const { arena, slotBytes, slots } = this.#buffer(order);
    // Page-locked, it is there already.
    if (this.#engine.context.device === 'cpu') native().arenaFill(arena, 0, slotBytes * slots, 0);
    this.#committer.start();
  }

  /** Host memory taken to write checkpoints. */
  get bufferBytes(): number {
    return this.#staging === null ? 0 : this.#staging.slotBytes * this.#staging.slots;
  }

  /**
   * Begins a checkpoint of the engine as it is now, after the one before is finished. Resolves when training may go on; how
   * it ends is told to the events.
   */
  async save(position: DataPosition, loss?: number): Promise<void> {
    const began = performance.now();
    await this.settle();
    this.#failure = null;
    const { steps } = this.#engine;
    const order = this.#order();
    const context = { ...this.#context, ...(loss === undefined ? {} : { loss }) };
    if (typeof order === 'string') {
      await this.#whole(context, position, began);
      return;
    }
    const places = checkpointPlaces(context.config.train.output, steps, currentRunId());
    const open: OpenFile[] = [];
    try {
      const commit = await this.#begin(order, context, position, places, open);
      const blockedMs = performance.now() - began;
      const { running, small, fields } = commit;
      this.#current = this.#finish(places, running, open, async (files) => {
        const request = { places, fields, files, writers: 1, policy: policyOf(context.config) };
        const written = await this.#committer.commit({ commit: request, small });
        const totalMs = performance.now() - began;
        this.#events.saved({ step: steps, written, blockedMs: blockedMs + running.blockedMs, totalMs });
      });
    } catch (error) {
      for (const { id } of open) native().appendClose(id);
      discardCheckpoint(places);
      this.#fail(notWritten(places, error), steps);
    }
  }

  /** Waits for the checkpoint under way. */
  async settle(): Promise<void> {
    await this.#current;
    this.#current = null;
  }

  /** Waits, and throws what the last save failed with: for the end of a run, where nothing comes after it. */
  async finish(): Promise<void> {
    await this.settle();
    if (this.#failure !== null) throw this.#failure;
  }

  /** Gives the buffer and the thread back. Call `settle` first, or the checkpoint under way is lost. */
  async dispose(): Promise<void> {
    if (this.#current !== null) await this.settle();
    await this.#committer.close();
    if (this.#staging !== null) native().arenaDestroy(this.#staging.arena);
    this.#staging = null;
  }

  async #begin(
    order: SaveOrder,
    context: SaveContext,
    position: DataPosition,
    places: BegunCheckpoint,
    open: OpenFile[],
  ) {
    const declarations = order.tensors.map((tensor) => tensorDeclaration(context.built, tensor));
    const isWeight = order.tensors.map(({ kind }) => kind === 'weight');
    const parts = (['model', 'optimizer'] as const).map((folder) => {
      const mine = declarations.filter((_, index) => isWeight[index] === (folder === 'model'));
      return { folder, count: mine.length, layout: layOutShards(mine, { baseName: folder }) };
    });
    const files = parts.filter(({ count }) => count > 0);
    const small = [...smallFilesFor(context, this.#engine.context.dtype)];
    const need = files.flatMap(({ layout }) => layout.files).reduce((sum, { fileBytes }) => sum + fileBytes, MiB);
    await beginCheckpoint(places, need);
    const fileOf = new Map<string, AppendFileId>();
    for (const { folder, layout } of files) {
      const target = path.join(places.temporary, folder);
      withIo('create the folder', target, () => mkdirSync(target));
      for (const { name, header, order: inFile } of layout.files) {
        const inside = `${folder}/${name}`;
        const id = native().appendOpen(path.join(places.temporary, inside));
        open.push({ id, path: inside });
        native().appendBytes(id, header);
        for (const tensor of inFile) fileOf.set(tensor.name, id);
      }
      if (layout.index !== null) small.push({ path: `${folder}/${layout.index.name}`, text: layout.index.text });
    }
    const request = {
      fileOf: declarations.map(({ name }) => fileOf.get(name)!),
      files: open.map(({ id }) => id),
      staging: this.#buffer(order),
    };
    const running = this.#engine.store.beginSave!(request);
    return { running, small, fields: manifestFieldsFor(this.#engine, context, position) };
  }

  async #finish(
    places: BegunCheckpoint,
    running: RunningSave,
    open: readonly OpenFile[],
    commit: (files: readonly ManifestFile[]) => Promise<void>,
  ): Promise<void> {
    try {
      const files: ManifestFile[] = [];
      try {
        while (!running.isDone()) await delay(pollMs);
        for (const { id, path: inside } of open) files.push({ path: inside, ...native().appendResult(id)! });
      } catch (error) {
        throw notWritten(places, error);
      } finally {
        for (const { id } of open) native().appendClose(id);
      }
      await commit(files);
    } catch (error) {
      discardCheckpoint(places);
      this.#fail(error, places.step);
    }
  }

  /** Where bytes cannot be handed out behind training: the whole save at once. */
  async #whole(context: SaveContext, position: DataPosition, began: number): Promise<void> {
    const step = this.#engine.steps;
    try {
      const written = await saveCheckpoint(this.#engine, context, position);
      const totalMs = performance.now() - began;
      this.#events.saved({ step, written, blockedMs: totalMs, totalMs });
    } catch (error) {
      this.#fail(error, step);
    }
  }

  #fail(error: unknown, step: number): void {
    this.#failure = error;
    this.#events.failed(error, step);
  }

  /** Taken once and kept: its size depends on the model alone. */
  #buffer({ tensors, leastSlotBytes }: SaveOrder): Staging {
    if (this.#staging !== null) return this.#staging;
    const totalBytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
    const budget = bufferBudget(this.#context.config.memory.checkpoint, totalBytes);
    const slotBytes = roundUp(Math.max(leastSlotBytes + 8 * KiB, Math.min(16 * MiB, budget / 4)), 4 * KiB);
    const slots = Math.max(2, Math.floor(budget / slotBytes));
    const device = this.#engine.context.device;
    const index = device.startsWith('cuda:') ? Number(device.slice('cuda:'.length)) : 0;
    const arena: ArenaId = native().arenaCreate('host', slotBytes * slots, index, true);
    this.#staging = { arena, slotBytes, slots };
    return this.#staging;
  }
}

/** `auto`: room for the whole checkpoint, but at most an eighth of what is free. */
export function bufferBudget(setting: number | 'auto', totalBytes: number): number {
  const most = setting === 'auto' ? hostMemory().availableBytes / 8 : setting;
  const budget = Math.min(most, totalBytes + MiB);
  if (budget >= 64 * KiB) return budget;
  throw new TierraError('E_OUT_OF_MEMORY', `memory.checkpoint: ${Math.floor(budget)} bytes are too few for a buffer`, {
    hint: 'Give it at least 1MiB; more lets training go on while the disk is behind.',
  });
}
