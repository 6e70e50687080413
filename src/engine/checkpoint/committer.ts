import type { Worker } from 'node:worker_threads';
import { type ErrorCode, TierraError } from '../../core/errors.ts';
import { startThread } from '../../core/workerThread.ts';
import type { WrittenCheckpoint } from './commit.ts';
import type { CommitRequest, PlainError } from './commitWorker.ts';

type Answer = { readonly result: WrittenCheckpoint } | { readonly error: PlainError };

/** Finishes checkpoints on a thread of its own, one at a time. The thread starts with the first, or before, and lives until `close`. */
export class Committer {
  #worker: Worker | null = null;

  /** Starts the thread, which takes a moment (from sources it is bundled first: longer). It keeps no process alive. */
  start(): Worker {
    this.#worker ??= startWorker();
    return this.#worker;
  }

  commit(request: CommitRequest): Promise<WrittenCheckpoint> {
    const worker = this.start();
    worker.ref();
    return new Promise((resolve, reject) => {
      const end = (body: () => void): void => {
        worker.off('message', answered).off('error', failed).off('exit', left);
        worker.unref();
        body();
      };
      const answered = (answer: Answer): void =>
        end(() => ('result' in answer ? resolve(answer.result) : reject(revived(answer.error))));
      const failed = (error: unknown): void => {
        this.#worker = null;
        end(() => reject(error));
      };
      const left = (code: number): void =>
        failed(new TierraError('E_INTERNAL', `the checkpoint thread ended (${code})`));
      worker.on('message', answered).on('error', failed).on('exit', left);
      worker.postMessage(request);
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }
}

function startWorker(): Worker {
  const worker = startThread(import.meta.url, 'commitWorker', { resourceLimits: { maxOldGenerationSizeMb: 128 } });
  worker.unref();
  return worker;
}

function revived({ code, message, hint }: PlainError): Error {
  if (code === null) return new Error(message);
  return new TierraError(code as ErrorCode, message, hint === null ? {} : { hint });
}
