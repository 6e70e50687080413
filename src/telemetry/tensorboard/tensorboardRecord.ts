import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { makeFolder, withIo } from '../../core/files.ts';
import type { MovementFigures } from '../memorySummary.ts';
import type { EvaluationReport, RecordedAs, RunStart, TierUse } from '../progress.ts';
import type { RunRecord, StepRow } from '../record/record.ts';
import { scalarEvent, textEvent, versionEvent } from './events.ts';

export interface TensorboardOptions {
  readonly folder: string;
  readonly host: string;
  readonly config: unknown;
  /** Told once when writing fails; nothing is written from then on. */
  readonly onTrouble: (text: string) => void;
}

/** Steps shorter than this are not all drawn: one of them a second is as much as a chart can show of a day. */
const spacingMs = 1000;
const flushMs = 1000;

/** Curves for TensorBoard. A file per process; resumed runs add files to the same folder, as TensorBoard expects. */
export class TensorboardRecord implements RunRecord {
  readonly id = null;
  readonly #options: TensorboardOptions;
  #file: number | null = null;
  #buffer: Buffer[] = [];
  #last: StepRow | null = null;
  #drawnMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #memory: readonly TierUse[] = [];

  constructor(options: TensorboardOptions) {
    this.#options = options;
  }

  begin({ completedSteps }: RunStart): void {
    const { folder, host, config } = this.#options;
    const seconds = Date.now() / 1e3;
    const name = `events.out.tfevents.${Math.floor(seconds)}.${host}.${process.pid}.0`;
    this.#attempt(() => {
      makeFolder(path.resolve(folder));
      this.#file = openSync(path.join(folder, name), 'a');
    });
    const text = `\`\`\`json\n${JSON.stringify(config, null, 2)}\n\`\`\``;
    this.#buffer.push(versionEvent(seconds), textEvent(seconds, completedSteps, 'config', text));
    this.#flush();
    this.#timer = setInterval(() => this.#flush(), flushMs).unref();
  }

  step(row: StepRow): void {
    this.#last = row;
    const nowMs = Date.now();
    if (nowMs - this.#drawnMs < spacingMs) return;
    this.#draw(row, nowMs);
  }

  event(_text: string, _event: RecordedAs): void {}

  evaluation({ step, loss }: EvaluationReport): void {
    this.#scalars(step, [['evaluation/loss', loss]], Date.now());
  }

  checkpoint(): void {}

  memory(_step: number, uses: readonly TierUse[]): void {
    this.#memory = uses;
  }

  movement(_report: MovementFigures): void {}

  finish(): void {
    if (this.#last !== null) this.#draw(this.#last, Date.now());
    this.#flush();
  }

  dispose(): void {
    clearInterval(this.#timer);
    if (this.#file === null) return;
    this.finish();
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #draw(row: StepRow, nowMs: number): void {
    this.#drawnMs = nowMs;
    this.#last = null;
    const values: [string, number][] = [
      ['train/loss', row.loss],
      ['train/gradient_norm', row.gradientNorm],
      ['train/clip_factor', row.clipFactor],
      ['train/learning_rate', row.learningRate],
      ['speed/tokens_per_second', row.seconds > 0 ? row.tokens / row.seconds : 0],
      ['speed/step_seconds', row.seconds],
      ...this.#memory.map(({ tier, usedBytes }): [string, number] => [`memory/${tier}_bytes`, usedBytes]),
    ];
    if (row.lossScale !== null) values.push(['train/loss_scale', row.lossScale]);
    this.#scalars(row.step, values, nowMs);
  }

  #scalars(step: number, values: readonly (readonly [string, number])[], nowMs: number): void {
    if (this.#file === null) return;
    const named = values.map(([tag, value]) => ({ tag, value }));
    this.#buffer.push(scalarEvent({ seconds: nowMs / 1e3, step, values: named }));
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#buffer);
    this.#buffer = [];
    const file = this.#file;
    if (file === null || bytes.length === 0) return;
    this.#attempt(() => {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
    });
  }

  #attempt(action: () => void): void {
    try {
      withIo('write TensorBoard events', this.#options.folder, action);
    } catch (error) {
      if (this.#file !== null) closeSync(this.#file);
      this.#file = null;
      this.#options.onTrouble((error as Error).message);
    }
  }
}
