import { TierraError } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import {
  type KeepPolicy,
  listCheckpoints,
  locateCheckpoints,
  manifestBytes,
  prunable,
  pruneCheckpoints,
} from '../../engine/checkpoint/index.ts';
import type { Arguments, Command } from '../command.ts';
import { UsageError } from '../usageError.ts';

export const checkpointPruneCommand: Command = {
  name: ['checkpoint', 'prune'],
  describe: 'Say which ones newer ones replace, and with --yes remove them',
  positionals: ['run'],
  options: {
    'keep-last': { describe: 'Newest checkpoints to keep; default: as the run was configured', text: true },
    'keep-every': { describe: 'Also keep those whose step is a multiple of this', text: true },
    yes: { describe: 'Remove them', bare: true },
  },
  async run(args, { stdout }) {
    const { output, checkpoint } = locateCheckpoints(args.positionals[0]!);
    if (output === null || checkpoint !== null) {
      throw new TierraError('E_CHECKPOINT', `${args.positionals[0]}: is one checkpoint, not a run`, {
        hint: 'Give the run folder: what may go depends on the checkpoints beside it.',
      });
    }
    const policy = policyFor(output, args);
    const doomed = await prunable(output, policy);
    if (doomed.length === 0) {
      stdout.write('nothing to remove\n');
      return 0;
    }
    const does = args.flags.has('yes');
    if (does) await pruneCheckpoints(output, policy);
    const bytes = doomed.reduce((sum, { manifest }) => sum + manifestBytes(manifest!), 0);
    for (const { path } of doomed) stdout.write(`${does ? 'removed' : 'would remove'} ${path}\n`);
    stdout.write(does ? `${formatBytes(bytes)} freed\n` : `${formatBytes(bytes)} in all; do it with --yes\n`);
    return 0;
  },
};

/** What is not given is as the run's newest checkpoint was configured. */
function policyFor(output: string, args: Arguments): KeepPolicy {
  const config = listCheckpoints(output).findLast(({ manifest }) => manifest !== undefined)?.manifest?.config;
  const train = (config as { train?: { keepLast?: number; keepEvery?: number | null } } | undefined)?.train;
  const keepLast = countFrom(args, 'keep-last', 1) ?? train?.keepLast ?? 2;
  const keepEvery = countFrom(args, 'keep-every', 0) ?? train?.keepEvery ?? 0;
  return { keepLast, keepEvery };
}

function countFrom({ flags }: Arguments, flag: string, least: number): number | undefined {
  const typed = flags.get(flag)?.[0];
  if (typed === undefined) return undefined;
  const count = Number(typed);
  if (/^\d+$/.test(typed) && count >= least) return count;
  throw new UsageError(
    `checkpoint prune: --${flag}: expected a whole number of at least ${least}, got ${JSON.stringify(typed)}`,
    'Run `tierra checkpoint prune --help`.',
  );
}
