import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, TierraError } from '../../core/errors.ts';
import type { WrittenCheckpoint } from './commit.ts';
import type { CommitRequest, PlainError } from './commitWorker.ts';

type Answer = { readonly result: WrittenCheckpoint } | { readonly error: PlainError };

/** Finishes checkpoints on a thread of its own, one at a time. The thread starts with the first and lives until `close`. */
export class Committer {
  #worker: Worker | null = null;

  commit(request: CommitRequest): Promise<WrittenCheckpoint> {
    this.#worker ??= startWorker();
    const worker = this.#worker;
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

/** From sources, as in development, the thread needs a loader for TypeScript of its own. */
function startWorker(): Worker {
  const isSource = import.meta.url.endsWith('.ts');
  const url = new URL(isSource ? './commitWorker.ts' : './commitWorker.js', import.meta.url);
  const options = { resourceLimits: { maxOldGenerationSizeMb: 128 } };
  const worker = isSource ? new Worker(withLoader(url), { ...options, eval: true }) : new Worker(url, options);
  worker.unref();
  return worker;
}

function withLoader(url: URL): string {
  const found = createRequire(import.meta.url).resolve('tsx/esm/api');
  const loader = pathToFileURL(found.replace(/\.cjs$/, '.mjs')).href;
  return `import(${JSON.stringify(loader)}).then(({ register }) => { register(); return import(${JSON.stringify(url.href)}); })`;
}

function revived({ code, message, hint }: PlainError): Error {
  if (code === null) return new Error(message);
  return new TierraError(code as ErrorCode, message, hint === null ? {} : { hint });
}
