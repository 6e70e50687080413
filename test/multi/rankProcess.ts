/** One rank: meets the others, runs the script it is told, and sends back what came of it. See `ranks.ts`. */
import { pathToFileURL } from 'node:url';
import { formatError, isTierraError } from '../../src/core/errors.ts';
import { type Communicator, connect, type World } from '../../src/dist/index.ts';

interface Job {
  readonly script: string;
  readonly input: unknown;
  readonly timeoutSeconds: number;
  readonly world: World;
  readonly deterministic: boolean;
}

const textOf = (error: unknown): string =>
  isTierraError(error) ? `${error.code}: ${formatError(error)}` : formatError(error);

process.once('message', async (job: Job) => {
  // Read at start by every child, so that the parent's end is noticed.
  process.on('disconnect', () => process.exit(1));
  let answer: { value?: unknown; error?: string };
  try {
    const { run } = (await import(pathToFileURL(job.script).href)) as {
      run(communicator: Communicator, input: unknown): unknown;
    };
    const { timeoutSeconds, deterministic, world } = job;
    const communicator = connect(world, { device: 'cpu', timeoutSeconds, deterministic, watch: false });
    const value = await run(communicator, job.input);
    communicator.dispose();
    answer = { value };
  } catch (error) {
    answer = { error: textOf(error) };
  }
  process.send!(answer, () => process.exit(answer.error === undefined ? 0 : 1));
});
