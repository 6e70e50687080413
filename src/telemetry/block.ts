import { formatCount } from '../core/units.ts';
import { bar, sparkline } from './charts.ts';
import type { History } from './history.ts';
import type { EvaluationReport, RunStart, StepReport, TierName } from './progress.ts';
import { type Piece, widthOf } from './terminal.ts';
import { leftText, lossText, memoryText, normText, rateText, speedText, tierText } from './words.ts';

/** Everything the status block shows. */
export interface BlockState {
  readonly run: RunStart;
  readonly last: StepReport | undefined;
  readonly evaluation: EvaluationReport | undefined;
  readonly losses: History;
}

const tierColors = { gpu: 'cyan', host: 'blue', nvme: 'magenta' } as const satisfies Record<TierName, string>;

/** Cells that a bar or the sparkline takes, within the terminal. */
const chartWidth = (columns: number): number => Math.max(4, Math.min(32, columns - 48));

/** The status block, one list of pieces per line. Pure: the same state gives the same block. */
export function renderBlock(state: BlockState, columns: number): Piece[][] {
  const width = chartWidth(columns);
  return [
    stepLine(state, width),
    lossLine(state, width),
    rateLine(state),
    ...(state.last?.memory ?? []).map((use): Piece[] => {
      const { filled, rest } = bar(use.usedBytes / use.budgetBytes, width);
      return [label(tierText(use)), [tierColors[use.tier], filled], ['dim', rest], `  ${memoryText(use)}`];
    }),
  ];
}

const label = (name: string): Piece => ['dim', ` ${name.padEnd(5)}`];

function stepLine({ run, last }: BlockState, width: number): Piece[] {
  const done = last?.step ?? run.completedSteps;
  const { filled, rest } = bar(done / run.totalSteps, width);
  const percent = `${String(Math.floor((100 * done) / run.totalSteps)).padStart(3)}%`;
  return [
    label('step'),
    ['green', filled],
    ['dim', rest],
    `  ${percent}  `,
    ['bold', String(done)],
    `/${run.totalSteps}`,
    ['dim', `  left `],
    leftText(last?.secondsLeft),
  ];
}

function lossLine({ last, evaluation, losses }: BlockState, width: number): Piece[] {
  if (last === undefined) return [label('loss'), ['dim', 'waiting for the first step']];
  const line: Piece[] = [label('loss'), ['yellow', sparkline(losses.points(width))]];
  const gap = ' '.repeat(label('loss')[1]!.length + width - widthOf(line));
  line.push(`${gap}  `, [Number.isFinite(last.loss) ? 'bold' : 'red', lossText(last.loss)]);
  if (evaluation !== undefined)
    line.push(['dim', `  evaluation `], lossText(evaluation.loss), ['dim', ` at ${evaluation.step}`]);
  return line;
}

function rateLine({ run, last }: BlockState): Piece[] {
  if (last === undefined)
    return [label('run'), `${formatCount(run.parameters)} parameters, ${run.precision} on ${run.device}`];
  return [
    label('rate'),
    rateText(last.learningRate),
    ['dim', '  norm '],
    normText(last.gradientNorm),
    '  ',
    ['bold', speedText(last.tokensPerSecond)],
  ];
}
