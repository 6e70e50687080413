// Draws steps of a timeline written by `tierra train --trace` as an SVG.
//   npx tsx scripts/timeline-picture.ts trace.json picture.svg [--steps 12-13] [--title "..."] [--caption "..."]
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string' }, title: { type: 'string' }, caption: { type: 'string' } },
});
const [source, target] = positionals;
if (source === undefined || target === undefined) {
  console.error('usage: timeline-picture.ts trace.json picture.svg [--steps 12-13] [--title "..."] [--caption "..."]');
  process.exit(2);
}

interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly args?: Readonly<Record<string, number | string>>;
}

interface Span {
  readonly lane: string;
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly args: Readonly<Record<string, number | string>>;
}

const events = JSON.parse(readFileSync(source, 'utf8')) as TraceEvent[];
const laneOf = new Map(events.filter((e) => e.name === 'thread_name').map((e) => [e.tid, String(e.args?.name)]));
const spans: Span[] = events
  .filter((e) => e.ph === 'X')
  .map((e) => ({ lane: laneOf.get(e.tid) ?? '', name: e.name, from: e.ts, to: e.ts + e.dur, args: e.args ?? {} }));

const rows = ['compute', 'waiting', 'cpu to gpu', 'gpu to cpu', 'disk read', 'disk write', 'optimizer'];
// What a span is about decides its colour: light theme, dark theme.
const kinds = [
  ['forward', 'forward', '#3b82f6', '#60a5fa'],
  ['backward', 'backward', '#1e40af', '#2f63d8'],
  ['parameters', 'parameters', '#0d9488', '#2dd4bf'],
  ['gradients', 'gradients', '#ea580c', '#fb923c'],
  ['states', 'optimizer states', '#7c3aed', '#a78bfa'],
  ['optimizer', 'optimizer', '#15803d', '#4ade80'],
  ['wait', 'compute waits', '#dc2626', '#f87171'],
  ['other', 'norm, update on the gpu', '#9ca3af', '#6b7280'],
] as const;
const kindOf = ({ lane, name }: Pick<Span, 'lane' | 'name'>): string => {
  if (lane === 'waiting') return 'wait';
  const found = kinds.find(([key]) => name.startsWith(key));
  return found === undefined ? 'other' : found[0];
};
/** The row of a lane: `disk read 2` is drawn with `disk read`. */
const rowOf = (lane: string): number => rows.findIndex((row) => lane === row || lane.startsWith(`${row} `));

const steps = spans.filter(({ lane }) => lane === 'step').sort((a, b) => a.from - b.from);
if (steps.length === 0) {
  console.error(`timeline-picture: ${source} has no steps; was it written with a memory budget?`);
  process.exit(1);
}
const chosen = chooseSteps();
const begin = chosen[0]!.from;
const end = chosen.at(-1)!.to;
const span = end - begin;

/** The steps asked for, or the two neighbours that together are nearest to twice the median. */
function chooseSteps(): Span[] {
  if (values.steps !== undefined) {
    const [first = 0, last = first] = values.steps.split('-').map(Number);
    const found = steps.filter(({ args }) => Number(args.step) >= first && Number(args.step) <= last);
    if (found.length > 0) return found;
    console.error(`timeline-picture: there is no step ${values.steps} in ${source}`);
    process.exit(1);
  }
  if (steps.length < 4) return steps.slice(-2);
  const length = ({ from, to }: Span): number => to - from;
  const median = steps.map(length).sort((a, b) => a - b)[Math.floor(steps.length / 2)]!;
  // The last step has no successor to show what it left running.
  const pairs = steps.slice(1, -2).map((step, index): [Span, Span] => [step, steps[index + 2]!]);
  const distance = ([a, b]: readonly [Span, Span]): number =>
    Math.abs(length(a) - median) + Math.abs(length(b) - median);
  return pairs.reduce((best, pair) => (distance(pair) < distance(best) ? pair : best));
}

const left = 118;
const right = 74;
const width = 1200;
const plot = width - left - right;
const rowHeight = 30;
const barHeight = 20;
const top = (values.title === undefined ? 20 : 52) + 26;
const bottom = top + rows.length * rowHeight;
const captionLines = wrap(values.caption ?? '', 175);
const height = bottom + 34 + 34 + captionLines.length * 18 + 8;
const x = (us: number): number => left + ((us - begin) / span) * plot;
const round = (value: number): number => Math.round(value * 100) / 100;
const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (words: string): string => words.replace(/[&<>"]/g, (character) => entities[character]!);

const out: string[] = [];
const text = (at: number, y: number, words: string, style = ''): number =>
  out.push(`<text x="${round(at)}" y="${round(y)}" ${style}>${escaped(words)}</text>`);

out.push(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(values.title ?? 'Timeline of training steps')}">`,
);
out.push(`<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2937 }
  .title { font-size: 18px; font-weight: 600 } .soft { fill: #6b7280; font-size: 12px } .in { fill: #fff; font-size: 10px }
  .card { fill: #ffffff; stroke: #e5e7eb } .band { fill: #f3f4f6 } .line { stroke: #9ca3af; stroke-width: 1 } .tick { stroke: #e5e7eb }
${kinds.map(([key, , light]) => `  .${key} { fill: ${light} }`).join('\n')}
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e7eb } .soft { fill: #9ca3af } .in { fill: #0b1220 }
    .card { fill: #0f1621; stroke: #273244 } .band { fill: #172131 } .line { stroke: #6b7280 } .tick { stroke: #273244 }
${kinds.map(([key, , , dark]) => `    .${key} { fill: ${dark} }`).join('\n')}
  }
</style>`);
out.push(`<rect class="card" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="10"/>`);
if (values.title !== undefined) text(24, 38, values.title, 'class="title"');

for (const [index, row] of rows.entries()) {
  const y = top + index * rowHeight;
  if (index % 2 === 0) out.push(`<rect class="band" x="${left}" y="${y}" width="${plot}" height="${rowHeight}"/>`);
  text(left - 12, y + rowHeight / 2 + 4.5, row, 'text-anchor="end"');
}
drawAxis();
const merged: (Span & { readonly row: number })[] = [];
for (const one of spans) {
  const row = rowOf(one.lane);
  if (row < 0 || one.to <= begin || one.from >= end) continue;
  merged.push({ ...one, row, from: Math.max(one.from, begin), to: Math.min(one.to, end) });
}
for (const { row, name, lane, from, to, args } of merged) {
  const y = top + row * rowHeight + (rowHeight - barHeight) / 2;
  const wide = Math.max(0.6, x(to) - x(from) - 0.4);
  const key = kindOf({ lane, name });
  const told = `${name}${args.chunk === undefined ? '' : `, chunk ${args.chunk}`}${args.for === undefined ? '' : `, for ${args.for}`}: ${((to - from) / 1e3).toFixed(1)} ms`;
  out.push(
    `<rect class="${key}" x="${round(x(from))}" y="${y}" width="${round(wide)}" height="${barHeight}" rx="1.5"><title>${escaped(told)}</title></rect>`,
  );
  const label =
    key === 'forward' || key === 'backward' ? (name.split(' ')[1] ?? '').replace(/^(blocks|layers|h)\./, '') : '';
  if (label !== '' && wide > label.length * 6.2 + 4)
    text(x(from) + wide / 2, y + barHeight / 2 + 3.5, label, 'class="in" text-anchor="middle"');
}
for (const [index, row] of rows.entries()) {
  const busy = covered(merged.filter((one) => rows[one.row] === row)) / span;
  text(
    width - 20,
    top + index * rowHeight + rowHeight / 2 + 4.5,
    `${Math.round(100 * busy)}%`,
    'text-anchor="end" class="soft"',
  );
}
text(width - 20, top - 10, 'busy', 'text-anchor="end" class="soft"');
drawLegend();
for (const [index, line] of captionLines.entries()) text(24, bottom + 34 + 34 + 8 + index * 18, line, 'class="soft"');
out.push('</svg>');
writeFileSync(target, `${out.join('\n')}\n`);
console.log(
  `${target}: steps ${chosen.map(({ args }) => args.step).join(' and ')}, ${(span / 1e3).toFixed(0)} ms, ${merged.length} spans`,
);

function drawAxis(): void {
  const unit =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000].find((ms) => span / 1e3 / ms <= 14) ?? 20000;
  for (let ms = 0; ms * 1e3 <= span; ms += unit) {
    const at = x(begin + ms * 1e3);
    out.push(`<line class="tick" x1="${round(at)}" x2="${round(at)}" y1="${top}" y2="${bottom + 5}"/>`);
    text(at, bottom + 19, ms === 0 ? '0 ms' : String(ms), 'text-anchor="middle" class="soft"');
  }
  for (const step of chosen) {
    const at = x(step.from);
    out.push(`<line class="line" x1="${round(at)}" x2="${round(at)}" y1="${top - 18}" y2="${bottom}"/>`);
    text(at + 6, top - 9, `step ${step.args.step}`, 'class="soft"');
  }
}

function drawLegend(): void {
  let at = left;
  const seen = new Set(merged.map(kindOf));
  for (const [key, words] of kinds) {
    if (!seen.has(key)) continue;
    out.push(`<rect class="${key}" x="${at}" y="${bottom + 34}" width="12" height="12" rx="2"/>`);
    text(at + 18, bottom + 44.5, words, 'class="soft"');
    at += 18 + words.length * 6.6 + 20;
  }
}

/** Microseconds with at least one span. */
function covered(list: readonly Span[]): number {
  let total = 0;
  let until = Number.NEGATIVE_INFINITY;
  for (const { from, to } of [...list].sort((a, b) => a.from - b.from)) {
    total += Math.max(0, to - Math.max(from, until));
    until = Math.max(until, to);
  }
  return total;
}

function wrap(words: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of words.split(' ').filter((one) => one !== '')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
