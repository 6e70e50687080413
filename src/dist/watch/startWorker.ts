import type { Worker } from 'node:worker_threads';
import { startThread } from '../../core/workerThread.ts';

/** The watching thread must start while this one waits for it: it gets no flags of ours either, which might name a loader. */
export const startWorker = (workerData: unknown): Worker =>
  startThread(import.meta.url, 'worker', { workerData, execArgv: [] });
