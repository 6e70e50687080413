/** Slurm's compressed lists of nodes (slurm.schedmd.com/scontrol.html, "hostlist expressions"). */
import { badEnvironment } from './variables.ts';

/** More nodes than any machine has, so that a mistyped range cannot fill the memory. */
const maxNodes = 100_000;

/** `node[01-03,7],login` → node01, node02, node03, node7, login. Several brackets multiply: `r[1-2]n[1-2]`. */
export function nodesOf(list: string, name = 'the node list'): string[] {
  const bad = (): Error => badEnvironment(`cannot read ${name}=${list}; it should look like node[01-03,7],login`);
  const nodes = splitOutside(list).flatMap((part) => {
    if (part === '' || /[^\w.[\],-]/.test(part)) throw bad();
    return expand(part, bad);
  });
  if (nodes.length === 0 || nodes.length > maxNodes) throw bad();
  return nodes;
}

/** At the commas that are outside of brackets. */
function splitOutside(list: string): string[] {
  return list.split(/,(?![^[]*\])/).map((part) => part.trim());
}

function expand(part: string, bad: () => Error): string[] {
  const open = part.indexOf('[');
  if (open < 0) {
    if (part.includes(']')) throw bad();
    return [part];
  }
  const close = part.indexOf(']', open);
  if (close < 0) throw bad();
  const prefix = part.slice(0, open);
  const tails = expand(part.slice(close + 1), bad);
  const numbers = part
    .slice(open + 1, close)
    .split(',')
    .flatMap((range) => rangeOf(range, bad));
  if (numbers.length * tails.length > maxNodes) throw bad();
  return numbers.flatMap((number) => tails.map((tail) => `${prefix}${number}${tail}`));
}

/** `08-10` → 08, 09, 10: as wide as its first number. */
function rangeOf(range: string, bad: () => Error): string[] {
  const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
  if (match === null) throw bad();
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  if (last < first || last - first >= maxNodes) throw bad();
  return Array.from({ length: last - first + 1 }, (_, i) => String(first + i).padStart(match[1]!.length, '0'));
}
