import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { ioError } from '../../core/files.ts';
import { findRun, runDetails } from '../../telemetry/runStore/index.ts';
import type { Output } from '../../telemetry/terminal.ts';
import type { Command } from '../command.ts';
import { csvOf, jsonOf } from '../runs/exportRun.ts';
import { storeOption, withStore } from '../runs/store.ts';
import { UsageError } from '../usageError.ts';

export const runsExportCommand: Command = {
  name: ['runs', 'export'],
  describe: 'Write every step of a run as CSV, or all of its record as JSON',
  positionals: ['run'],
  options: {
    csv: { describe: 'One line a step', bare: true },
    json: { describe: 'One object with everything', bare: true },
    out: { describe: 'Write to this file instead of the terminal' },
    store: storeOption,
  },
  run: (args, { stdout, signal }) => {
    const { flags } = args;
    if (flags.has('csv') === flags.has('json')) {
      throw new UsageError('runs export: give one of --csv and --json', 'Run `tierra runs export --help`.');
    }
    return withStore(args, async (database) => {
      const { number } = findRun(database, args.positionals[0]!);
      const run = runDetails(database, number)[0]!;
      const parts = flags.has('csv') ? csvOf(database, run) : jsonOf(database, run);
      const file = flags.get('out')?.[0];
      if (file === undefined) await writeAll(parts, stdout, signal);
      else await writeFile(parts, file, signal);
      return 0;
    });
  },
};

async function writeFile(parts: Iterable<string>, file: string, signal: AbortSignal): Promise<void> {
  const stream = createWriteStream(file);
  try {
    await once(stream, 'open');
    await writeAll(parts, stream, signal);
    stream.end();
    await once(stream, 'finish');
  } catch (cause) {
    throw ioError('write', file, cause);
  }
}

/** Waits whenever the reader is slower. */
async function writeAll(parts: Iterable<string>, output: Output, signal: AbortSignal): Promise<void> {
  for (const part of parts) {
    if (signal.aborted) return;
    if (output.write(part) === false && 'once' in output) await once(output as unknown as Writable, 'drain');
  }
}
