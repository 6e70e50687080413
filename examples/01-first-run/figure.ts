/**
 * Draws the losses of a run from its plain log: training loss (faint as logged, dark as a mean over neighbours) and
 * validation loss (dots) over steps.
 *
 *     npm start | tee docs/images/first-run.log
 *     npx tsx examples/01-first-run/figure.ts docs/images/first-run.log docs/images/first-run.svg
 */
import { readFileSync, writeFileSync } from 'node:fs';

const [, , logPath = 'docs/images/first-run.log', svgPath = 'docs/images/first-run.svg'] = process.argv;
type Point = readonly [step: number, loss: number];

const log = readFileSync(logPath, 'utf8');
const points = (pattern: RegExp): Point[] =>
  Array.from(log.matchAll(pattern), ([, step, loss]) => [Number(step), Number(loss)] as const);
const training = points(/^step +(\d+)\/\d+ {2}loss ([\d.]+)/gm);
const validation = points(/^step (\d+): evaluation loss ([\d.]+)/gm);
const lastStep = Math.max(...[...training, ...validation].map(([step]) => step));

const width = 720;
const height = 340;
const frame = { left: 52, right: 150, top: 34, bottom: 42 };
const top = 6;
const x = (step: number): number => frame.left + (step / lastStep) * (width - frame.left - frame.right);
const y = (loss: number): number => height - frame.bottom - (loss / top) * (height - frame.top - frame.bottom);
const at = ([step, loss]: Point): string => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`;

/** Each point as the mean of the two before it, itself and the two after it. */
const smooth = (all: readonly Point[]): Point[] =>
  all.map(([step], index) => {
    const near = all.slice(Math.max(0, index - 2), index + 3);
    return [step, near.reduce((sum, [, loss]) => sum + loss, 0) / near.length];
  });

const ticks = Array.from({ length: top + 1 }, (_, loss) => loss);
const stepTicks = Array.from({ length: 7 }, (_, index) => Math.round((index * lastStep) / 6));
const first = validation[0]!;
const last = validation.at(-1)!;
const label = (point: Point, text: string, dx: number, dy: number): string =>
  `<text x="${x(point[0]) + dx}" y="${y(point[1]) + dy}" fill="#b5541c" font-weight="600">${text}</text>`;

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Loss of the first run: validation falls from ${first[1]} to ${last[1]} nats per byte in ${lastStep} steps">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${frame.left}" y="20" fill="#1f2a33" font-size="14" font-weight="600">First run: nats per byte over steps</text>
${ticks.map((loss) => `<line x1="${frame.left}" x2="${width - frame.right}" y1="${y(loss)}" y2="${y(loss)}" stroke="#e3e8ec"/><text x="${frame.left - 10}" y="${y(loss) + 4}" text-anchor="end" fill="#5d6b76">${loss}</text>`).join('\n')}
${stepTicks.map((step) => `<text x="${x(step)}" y="${height - frame.bottom + 20}" text-anchor="middle" fill="#5d6b76">${step}</text>`).join('\n')}
<polyline points="${training.map(at).join(' ')}" fill="none" stroke="#a9c4d8" stroke-width="1"/>
<polyline points="${smooth(training).map(at).join(' ')}" fill="none" stroke="#2f6d99" stroke-width="2"/>
<polyline points="${validation.map(at).join(' ')}" fill="none" stroke="#d9722e" stroke-width="1.5" stroke-dasharray="4 3"/>
${validation.map((point) => `<circle cx="${x(point[0]).toFixed(1)}" cy="${y(point[1]).toFixed(1)}" r="3.5" fill="#d9722e"/>`).join('\n')}
${label(first, first[1].toFixed(2), 10, 4)}
${label(last, last[1].toFixed(2), 10, 4)}
<g fill="#1f2a33"><line x1="${width - frame.right + 18}" x2="${width - frame.right + 40}" y1="52" y2="52" stroke="#2f6d99" stroke-width="2"/><text x="${width - frame.right + 46}" y="56">training</text>
<line x1="${width - frame.right + 18}" x2="${width - frame.right + 40}" y1="74" y2="74" stroke="#d9722e" stroke-width="1.5" stroke-dasharray="4 3"/><circle cx="${width - frame.right + 29}" cy="74" r="3.5" fill="#d9722e"/><text x="${width - frame.right + 46}" y="78">validation</text></g>
</svg>
`;
writeFileSync(svgPath, svg);
console.log(
  `${svgPath}: ${training.length} training and ${validation.length} validation losses, ${first[1]} to ${last[1]}`,
);
