/** Flags of the commands that reach other hosts. */
import type { SshSettings } from '../dist/launch/agentLink.ts';
import type { Arguments, Option } from './command.ts';
import { UsageError } from './usageError.ts';

export const hostOptions = {
  host: { describe: 'Hosts and the ranks each takes, such as a,b:4' },
  hostfile: { describe: 'File with one host a line: name, or name slots=4' },
  include: { describe: 'Only these of the hosts', many: true },
  exclude: { describe: 'All hosts but these', many: true },
  'ssh-port': { describe: 'Port of the hosts’ ssh' },
  'ssh-config': { describe: 'Configuration file for ssh, instead of your own' },
} as const satisfies Record<string, Option>;

export const sshFrom = (args: Arguments): SshSettings => ({
  program: process.env.TIERRA_SSH ?? 'ssh',
  port: numberFlag(args, 'ssh-port', 1),
  config: args.flags.get('ssh-config')?.[0] ?? null,
});

/** A whole number `min` or larger; null where the flag is not given. */
export function numberFlag(args: Arguments, flag: string, min: number): number | null {
  const typed = args.flags.get(flag)?.[0];
  if (typed === undefined) return null;
  if (/^\d{1,6}$/.test(typed) && Number(typed) >= min) return Number(typed);
  const name = flag.length === 1 ? `-${flag}` : `--${flag}`;
  throw new UsageError(`${name}: expected a whole number >= ${min}, got ${JSON.stringify(typed)}`, 'Give a number.');
}
