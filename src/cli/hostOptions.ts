/** Flags of the commands that reach other hosts. */
import { readFileSync } from 'node:fs';
import { withIo } from '../core/files.ts';
import type { SshSettings } from '../dist/launch/agentLink.ts';
import { type Host, parseHostfile, parseHosts, selectHosts } from '../dist/launch/hosts.ts';
import type { Arguments, Option } from './command.ts';
import { UsageError } from './usageError.ts';

export const hostOptions = {
  host: { describe: 'Hosts and the ranks each takes, such as a,b:4' },
  hostfile: { describe: 'File with one host a line: name, or name slots=4' },
  include: { describe: 'Only these of the hosts', many: true },
  exclude: { describe: 'All hosts but these', many: true },
  'ssh-port': { describe: 'Port of the hosts’ ssh' },
  'ssh-config': { describe: 'Configuration file for ssh, instead of your own' },
  'master-addr': { describe: 'Address at which the other hosts reach the first one' },
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

/** Without hosts all ranks run here. */
export function hostsFrom(args: Arguments, ranks: number): Host[] {
  const file = args.flags.get('hostfile')?.[0];
  const list = args.flags.get('host')?.[0];
  if (file !== undefined && list !== undefined) {
    throw new UsageError('--host and --hostfile are both given', 'Give one of them.');
  }
  const names = (flag: string): string[] => (args.flags.get(flag) ?? []).flatMap((text) => text.split(','));
  if (file === undefined && list === undefined) return [{ name: 'localhost', slots: ranks }];
  const hosts =
    list !== undefined
      ? parseHosts(list, 1, '--host')
      : parseHostfile(
          withIo('read', file!, () => readFileSync(file!, 'utf8')),
          1,
          file!,
        );
  return selectHosts(hosts, names('include'), names('exclude'));
}
