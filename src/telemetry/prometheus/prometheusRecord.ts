import { renameSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import path from 'node:path';
import { makeFolder, withIo } from '../../core/files.ts';
import type { MovementFigures } from '../memorySummary.ts';
import type { EvaluationReport, RecordedAs, RunStart, SavedReport, TierUse } from '../progress.ts';
import type { RunRecord, StepRow } from '../record/record.ts';
import { Gauges } from './gauges.ts';
import { serveMetrics } from './server.ts';

export interface PrometheusOptions {
  /** A port of 127.0.0.1, or a file for node_exporter's textfile collector. */
  readonly target: number | string;
  readonly name: string;
  /** Told once. */
  readonly onTrouble: (text: string) => void;
}

const writeMs = 5000;

/** Current values for Prometheus, served or in a file that is replaced as a whole. */
export class PrometheusRecord implements RunRecord {
  readonly id = null;
  readonly #options: PrometheusOptions;
  readonly #gauges: Gauges;
  #server: Server | null = null;
  #timer: NodeJS.Timeout | undefined;
  #troubled = false;

  constructor(options: PrometheusOptions) {
    this.#options = options;
    this.#gauges = new Gauges(options.name);
  }

  begin(start: RunStart): void {
    this.#gauges.begin(start);
    const { target } = this.#options;
    if (typeof target === 'number') {
      this.#server = serveMetrics(
        target,
        () => this.#gauges.text(),
        (text) => this.#trouble(text),
      );
    } else {
      this.#write();
      this.#timer = setInterval(() => this.#write(), writeMs).unref();
    }
  }

  step(row: StepRow): void {
    this.#gauges.step(row);
  }

  event(_text: string, event: RecordedAs): void {
    this.#gauges.event(event);
  }

  evaluation(row: EvaluationReport): void {
    this.#gauges.evaluation(row);
  }

  checkpoint(row: SavedReport): void {
    this.#gauges.checkpoint(row);
  }

  memory(_step: number, uses: readonly TierUse[]): void {
    this.#gauges.memory(uses);
  }

  movement(report: MovementFigures): void {
    this.#gauges.movement(report);
  }

  finish(): void {
    this.#gauges.finish();
    if (this.#timer !== undefined) this.#write();
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Aside and renamed: the collector never sees half a file. */
  #write(): void {
    const file = path.resolve(String(this.#options.target));
    try {
      withIo('write metrics', file, () => {
        makeFolder(path.dirname(file));
        // The collector reads *.prom, so the name aside must not end in it.
        const aside = `${file}.${process.pid}.tmp`;
        writeFileSync(aside, this.#gauges.text());
        renameSync(aside, file);
      });
    } catch (error) {
      this.#trouble((error as Error).message);
    }
  }

  #trouble(text: string): void {
    if (this.#troubled) return;
    this.#troubled = true;
    this.#options.onTrouble(text);
  }
}
