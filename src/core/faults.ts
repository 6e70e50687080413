import { TierraError } from './errors.ts';

/**
 * Provable failure: a run started with `TIERRA_FAULT=site:kind@k=n` fails at the n-th passage of that named site.
 *
 * `TIERRA_FAULT=file.write:ENOSPC@k=3,checkpoint.K6:kill` arms two faults; `rank=1` after `@` or a comma limits one to
 * a rank. Kinds at sites written in TypeScript: `kill` (SIGKILL to this process), `EIO`, `ENOSPC` (an error shaped like
 * Node's own), `throw`. Native sites read the same variable and know more kinds, so unknown sites are no error here.
 */
interface Fault {
  readonly site: string;
  readonly kind: string;
  readonly hit: number;
  readonly rank: number | undefined;
  seen: number;
}

let armed: readonly Fault[] | undefined = parseFaults(process.env.TIERRA_FAULT);

/** Arms the faults of `text` (the syntax of `TIERRA_FAULT`) in place of those armed before; `undefined` disarms. */
export function armFaults(text: string | undefined): void {
  armed = parseFaults(text);
}

/** Marks a place that can be made to fail. One comparison when nothing is armed. */
export function faultPoint(site: string): void {
  if (armed === undefined) return;
  for (const fault of armed) {
    if (fault.site !== site || (fault.rank !== undefined && fault.rank !== Number(process.env.RANK ?? 0))) continue;
    fault.seen += 1;
    if (fault.seen === fault.hit) fail(fault);
  }
}

function fail({ site, kind, hit }: Fault): void {
  switch (kind) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      return;
    case 'EIO':
    case 'ENOSPC':
      throw Object.assign(new Error(`${kind}: injected at ${site}, passage ${hit}`), { code: kind, syscall: site });
    case 'throw':
      throw new TierraError('E_INTERNAL', `fault injected at ${site}, passage ${hit}`);
    default:
      throw malformed(`${site}:${kind}`, `this site cannot do "${kind}"; it knows kill, EIO, ENOSPC and throw`);
  }
}

function parseFaults(text: string | undefined): readonly Fault[] | undefined {
  if (text === undefined || text.trim() === '') return undefined;
  const faults: { site: string; kind: string; hit: number; rank: number | undefined; seen: number }[] = [];
  for (const part of text.split(/[,@]/)) {
    const start = /^\s*([\w.-]+):(\w+)\s*$/.exec(part);
    if (start !== null) {
      faults.push({ site: start[1]!, kind: start[2]!, hit: 1, rank: undefined, seen: 0 });
      continue;
    }
    const option = /^\s*(k|rank|seed|n)=(\d+)\s*$/.exec(part);
    const last = faults.at(-1);
    if (option === null || last === undefined) throw malformed(text, `cannot read ${JSON.stringify(part)}`);
    if (option[1] === 'k') last.hit = Number(option[2]);
    if (option[1] === 'rank') last.rank = Number(option[2]);
  }
  return faults;
}

function malformed(text: string, reason: string): TierraError {
  return new TierraError('E_CONFIG', `TIERRA_FAULT=${text}: ${reason}`, {
    hint: 'Write site:kind@k=n, several separated by commas, for example file.write:EIO@k=7,checkpoint.K6:kill.',
  });
}
