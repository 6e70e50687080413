/**
 * The tables of bench/results: runs rows of ours and of PyTorch in turn, each in a process of its own, and writes what they say.
 *
 *   node --import tsx bench/gpu/suite.ts --tables resident,offload [--rounds 2] [--minutes 9] [--out folder]
 *
 * Every result goes to `folder/rows.jsonl` as it comes; the tables are made of all results there, so that a suite may be cut into
 * several calls. A row is not begun when it is unlikely to end within `--minutes`. `--list` prints the rows.
 */
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Entry, tables } from './tables.ts';

interface Result {
  readonly table: string;
  readonly label: string;
  readonly seconds: number;
  readonly row?: Readonly<Record<string, unknown>>;
  readonly failure?: string;
}

const { values: flags } = parseArgs({
  options: {
    tables: { type: 'string', default: Object.keys(tables).join(',') },
    rounds: { type: 'string', default: '2' },
    minutes: { type: 'string', default: '9' },
    out: { type: 'string', default: 'build/gpu-bench' },
    list: { type: 'boolean', default: false },
  },
});
const folder = path.resolve(flags.out);
const file = path.join(folder, 'rows.jsonl');
const names = flags.tables.split(',');
const started = performance.now();
const minutes = (): number => (performance.now() - started) / 60_000;

if (flags.list) {
  for (const name of names) for (const entry of entriesOf(name)) console.log(`${name}: ${commandOf(entry).join(' ')}`);
  process.exit(0);
}
mkdirSync(folder, { recursive: true });
for (const name of names) {
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const entry of entriesOf(name)) {
      if (round > 0 && entry.once === true) continue;
      if (minutes() + entry.seconds / 60 > Number(flags.minutes)) {
        console.log(`left out for lack of time: ${name}, ${entry.label}`);
        continue;
      }
      run(name, entry);
    }
  }
}
writeFileSync(path.join(folder, 'tables.md'), markdown());
console.log(markdown());

function entriesOf(name: string): readonly Entry[] {
  const found = (tables as Readonly<Record<string, { readonly entries: readonly Entry[] }>>)[name];
  if (found === undefined) throw new Error(`no table ${name}; there are ${Object.keys(tables).join(', ')}`);
  return found.entries;
}

function commandOf({ program, row, label, ranks, file = 'peer.py' }: Entry): string[] {
  const given = JSON.stringify({ label, ...row });
  if (program === 'torch') {
    if (ranks === undefined) return ['python3', `bench/gpu/${file}`, given];
    return ['python3', '-m', 'torch.distributed.run', `--nproc-per-node=${ranks}`, `bench/gpu/${file}`, given];
  }
  const node = ['node', '--import', 'tsx'];
  if (ranks === undefined) return [...node, 'bench/gpu/train.ts', given];
  return [...node, 'src/cli/main.ts', 'run', '-n', String(ranks), 'bench/gpu/train.ts', given];
}

function run(table: string, entry: Entry): void {
  const [command, ...args] = commandOf(entry);
  const began = performance.now();
  const ended = spawnSync(command!, args, { encoding: 'utf8', timeout: 240_000, maxBuffer: 2 ** 28 });
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  const json = /\{"label".*\}/.exec(ended.stdout)?.[0];
  const said = (ended.stderr || ended.stdout).trim().split('\n').slice(-6).join('\n');
  const failure = ended.signal === null ? said : `${ended.signal}\n${said}`;
  const result: Result = {
    table,
    label: entry.label,
    seconds,
    ...(json === undefined ? { failure } : { row: JSON.parse(json) }),
  };
  appendFileSync(file, `${JSON.stringify(result)}\n`);
  console.log(
    `${minutes().toFixed(1)} min: ${table}, ${entry.label}: ${json === undefined ? `FAILED\n${failure}` : shortly(result)} (${seconds} s)`,
  );
}

function shortly({ row = {} }: Result): string {
  return `${row.stepSeconds} s, ${row.tokensPerSecond} tokens/s, ${row.tflops} TFLOP/s`;
}

/** One table each, a row an entry: the values of all rounds side by side. */
function markdown(): string {
  const results = existsSync(file)
    ? readFileSync(file, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Result)
    : [];
  const text: string[] = [];
  for (const [name, { title, entries }] of Object.entries(tables)) {
    const mine = results.filter(({ table }) => table === name);
    if (mine.length === 0) continue;
    text.push(
      `## ${title}`,
      '',
      '| | step, s | tokens/s | TFLOP/s | peak GPU, GiB | RSS, GiB | clipped | waits |',
      '|---|---|---|---|---|---|---|---|',
    );
    for (const { label } of entries) {
      const runs = mine.filter((result) => result.label === label);
      if (runs.length === 0) continue;
      const all = (key: string): string => runs.map(({ row }) => row?.[key] ?? '-').join(' / ');
      const waits = ((runs.at(-1)?.row?.waits ?? []) as readonly { cause: string; seconds: number }[])
        .slice(0, 3)
        .map(({ cause, seconds }) => `${cause} ${seconds.toFixed(3)} s`);
      const failed = runs
        .filter(({ failure }) => failure !== undefined)
        .map(({ failure }) => failure!.split('\n').at(-1));
      const cells = ['stepSeconds', 'tokensPerSecond', 'tflops', 'peakGiB', 'rss', 'clipped'].map(all);
      text.push(`| ${[label, ...cells, [...waits, ...failed].join('; ')].join(' | ')} |`);
    }
    text.push('');
  }
  return text.join('\n');
}
