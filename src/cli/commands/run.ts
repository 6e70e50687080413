import { fileURLToPath } from 'node:url';
import { packageVersion } from '../../core/package.ts';
import { checkRanks, runJob } from '../../dist/launch/job.ts';
import { fileOutput, prefixedOutput } from '../../dist/launch/output.ts';
import { rankArgv } from '../../dist/launch/program.ts';
import { takeSlots } from '../../dist/launch/slots.ts';
import type { Command, Context } from '../command.ts';
import { hostOptions, hostsFrom, numberFlag, sshFrom } from '../hostOptions.ts';

export const runCommand: Command = {
  name: ['run'],
  describe: 'Run a program or a configuration as several ranks, here or on several hosts',
  positionals: ['script'],
  rest: 'arguments of the script',
  options: {
    n: { describe: 'Ranks in all; without it one here, or as many as the hosts take' },
    ...hostOptions,
    env: { describe: 'Pass a variable to all ranks, as NAME or NAME=value; may be repeated', many: true },
    'log-dir': { describe: 'Write each rank’s output to a file in this folder; rank 0 is shown as well' },
    restarts: { describe: 'Start again after a failure, up to this many times, from the last checkpoint' },
    'min-ranks': { describe: 'Start again with fewer ranks where some are lost, but no fewer than this' },
  },
  async run(args, context) {
    const [script, ...rest] = args.positionals;
    const asked = numberFlag(args, 'n', 1);
    const hosts = hostsFrom(args, asked ?? 1);
    const slots = takeSlots(hosts, asked ?? hosts.reduce((sum, host) => sum + host.slots, 0));
    const minRanks = numberFlag(args, 'min-ranks', 1) ?? slots.length;
    checkRanks(slots.length, minRanks);
    const folder = args.flags.get('log-dir')?.[0];
    using output =
      folder === undefined
        ? prefixedOutput(slots.length, context.stdout, context.stderr)
        : fileOutput(folder, context.stdout, context.stderr);
    const plan = {
      slots,
      restarts: numberFlag(args, 'restarts', 0) ?? 0,
      minRanks,
      argv: rankArgv(script!, rest, trainArgv()),
      folder: process.cwd(),
      masterAddress: args.flags.get('master-addr')?.[0] ?? null,
      env: args.flags.get('env') ?? [],
      ssh: sshFrom(args),
      version: packageVersion(),
    };
    return runJob(plan, {
      line: (rank, stream, text) => output.line(rank, stream, text),
      note: (text) => context.stderr.write(`tierra run: ${text}\n`),
      onSignal: signalsOf(context),
    });
  },
};

/** `tierra train` as this very installation runs it. */
function trainArgv(): string[] {
  const main = fileURLToPath(new URL(`../main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));
  return [process.execPath, ...process.execArgv, main, 'train'];
}

/** The command line ends itself at the second signal; the first is passed on by its name. */
function signalsOf({ signal }: Context): (hear: (name: 'SIGINT' | 'SIGTERM') => void) => () => void {
  return (hear) => {
    const names = ['SIGINT', 'SIGTERM'] as const;
    const heard = (name: NodeJS.Signals): void => hear(name as 'SIGINT' | 'SIGTERM');
    for (const name of names) process.on(name, heard);
    // Asked between two attempts: the next one stops as soon as it listens.
    if (signal.aborted) queueMicrotask(() => hear('SIGTERM'));
    return () => {
      for (const name of names) process.off(name, heard);
    };
  };
}
