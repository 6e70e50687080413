/** Which hosts run how many ranks: from `--host`, a hostfile, and what to leave out. */
import { hostname, networkInterfaces } from 'node:os';
import { TierraError } from '../../core/errors.ts';

export interface Host {
  /** As it was written: `gpu-1`, `user@gpu-1`, an address. */
  readonly name: string;
  /** Ranks it takes. */
  readonly slots: number;
}

/**
 * Letters, digits and inner punctuation of names and IPv4 addresses, or an IPv6 address in brackets, with a user before it or not. Nothing that
 * ssh could take for an option and no shell for anything.
 */
const namePattern = /^(?:[a-z_][\w.-]{0,63}@)?(?:[a-z\d](?:[\w.-]{0,251}[a-z\d])?|\[[\da-f:.]{2,45}\])$/i;

export function checkHostName(name: string, where: string): string {
  if (namePattern.test(name)) return name;
  throw new TierraError('E_LAUNCH', `${where}: ${JSON.stringify(name)} is not a host name`, {
    hint: 'Write host, user@host or an address; put other connection settings into ssh’s configuration.',
  });
}

/** `a,b:4,[::1]:2` → hosts; a number after the colon says how many ranks it takes, `slots` is for those without. */
export function parseHosts(text: string, slots: number, where: string): Host[] {
  return text.split(',').map((part) => {
    const match = /^(.*?)(?::(\d{1,4}))?$/.exec(part.trim())!;
    return { name: checkHostName(match[1]!, where), slots: slotsOf(match[2], slots, `${where}: ${part}`) };
  });
}

/** One host a line, `name` or `name slots=4`, `#` begins a comment: the format of Open MPI and DeepSpeed. */
export function parseHostfile(text: string, slots: number, file: string): Host[] {
  const hosts = text.split(/\r?\n/).flatMap((line, i): Host[] => {
    const words = line.replace(/#.*/, '').trim().split(/\s+/);
    if (words[0] === '') return [];
    const where = `${file}:${i + 1}`;
    const match = /^slots=(\d{1,4})$/.exec(words[1] ?? 'slots=0');
    if (words.length > 2 || match === null) {
      throw new TierraError('E_LAUNCH', `${where}: cannot read ${JSON.stringify(line.trim())}`, {
        hint: 'Write one host a line: name, or name slots=4.',
      });
    }
    return [{ name: checkHostName(words[0]!, where), slots: words.length === 2 ? slotsOf(match[1], 0, where) : slots }];
  });
  if (hosts.length === 0) throw new TierraError('E_LAUNCH', `${file}: no host in it`);
  return hosts;
}

function slotsOf(text: string | undefined, otherwise: number, where: string): number {
  const slots = text === undefined ? otherwise : Number(text);
  if (slots >= 1) return slots;
  throw new TierraError('E_LAUNCH', `${where}: a host takes at least one rank`);
}

/** Keeps the hosts that are named in `include`, or those that are not in `exclude`; every name must be there. */
export function selectHosts(hosts: readonly Host[], include: readonly string[], exclude: readonly string[]): Host[] {
  if (include.length > 0 && exclude.length > 0) {
    throw new TierraError('E_LAUNCH', '--include and --exclude are both given; give one of them');
  }
  const repeated = hosts.find(({ name }, i) => hosts.findIndex((other) => other.name === name) !== i);
  if (repeated !== undefined) {
    throw new TierraError('E_LAUNCH', `host ${repeated.name} is named twice`, {
      hint: `Name it once, with the number of its ranks: ${repeated.name}:2.`,
    });
  }
  const unknown = [...include, ...exclude].find((name) => !hosts.some((host) => host.name === name));
  if (unknown !== undefined) {
    throw new TierraError('E_LAUNCH', `--${include.length > 0 ? 'include' : 'exclude'} ${unknown}: no such host`, {
      hint: `There are ${hosts.map(({ name }) => name).join(', ')}.`,
    });
  }
  const left = hosts.filter(({ name }) => (include.length > 0 ? include.includes(name) : !exclude.includes(name)));
  if (left.length === 0) throw new TierraError('E_LAUNCH', '--exclude leaves no host');
  return left;
}

/** Whether a host is this machine, so that no ssh is needed. */
export function isThisMachine(name: string): boolean {
  const bare = name.replace(/^\[|\]$/g, '').toLowerCase();
  const own = hostname().toLowerCase();
  if (['localhost', own, own.split('.')[0]].includes(bare)) return true;
  return Object.values(networkInterfaces()).some((entries) => entries?.some(({ address }) => address === bare));
}
