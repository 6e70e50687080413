import { renderBlock } from './block.ts';
import { History } from './history.ts';
import type { EvaluationReport, Progress, RunFinish, RunStart, SavedReport, StepReport } from './progress.ts';
import { type Output, type Paint, painter, paintLine, widthOf } from './terminal.ts';
import { evaluationText, finishText, savedText, startText } from './words.ts';

const hideCursor = '\x1b[?25l';
const showCursor = '\x1b[?25h';
const clearToEnd = '\x1b[J';
const clearLine = '\x1b[K';

export interface LiveOptions {
  readonly color: boolean;
  /** Least time between two redraws for steps; everything else is drawn at once. */
  readonly redrawMs?: number;
  /** A monotonic clock in milliseconds. */
  readonly now?: () => number;
}

/** A block of status lines, redrawn in place; everything said in words scrolls by above it. */
export class LiveProgress implements Progress {
  readonly #output: Output;
  readonly #paint: Paint;
  readonly #redrawMs: number;
  readonly #now: () => number;
  readonly #losses = new History();
  #run: RunStart | undefined;
  #last: StepReport | undefined;
  #evaluation: EvaluationReport | undefined;
  /** Cells of each line on the screen, for moving back over them even after the window was made narrower. */
  #drawn: number[] = [];
  #drawnAtMs = Number.NEGATIVE_INFINITY;

  constructor(output: Output, options: LiveOptions) {
    this.#output = output;
    this.#paint = painter(options.color);
    this.#redrawMs = options.redrawMs ?? 100;
    this.#now = options.now ?? (() => performance.now());
  }

  start(run: RunStart): void {
    this.#output.write(hideCursor);
    this.#run = run;
    this.#say(this.#paint('bold', startText(run)));
  }

  step(report: StepReport): void {
    this.#last = report;
    this.#losses.add(report.loss);
    if (this.#now() - this.#drawnAtMs >= this.#redrawMs) this.#redraw('');
  }

  evaluation(report: EvaluationReport): void {
    this.#evaluation = report;
    this.#say(evaluationText(report));
  }

  saved(report: SavedReport): void {
    this.#say(savedText(report));
  }

  note(text: string): void {
    this.#say(text);
  }

  warn(text: string): void {
    this.#say(`${this.#paint('yellow', 'warning:')} ${text}`);
  }

  /** The block stays on the screen in its last state. */
  finish(result: RunFinish): void {
    this.#redraw('');
    this.#drawn = [];
    this.#run = undefined;
    this.#output.write(
      `${this.#paint(result.outcome === 'completed' ? 'green' : 'yellow', finishText(result))}\n${showCursor}`,
    );
  }

  dispose(): void {
    if (this.#run === undefined) return;
    this.#redraw('');
    this.#run = undefined;
    this.#drawn = [];
    this.#output.write(showCursor);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #say(text: string): void {
    this.#redraw(`${text}\n`);
  }

  /** Goes back to where the block begins, writes `above` and the block below it: one write, so that nothing flickers. */
  #redraw(above: string): void {
    const columns = Math.max(20, this.#output.columns ?? 80);
    const rows = this.#drawn.reduce((sum, cells) => sum + Math.max(1, Math.ceil(cells / columns)), 0);
    const back = rows === 0 ? '' : `\x1b[${rows}A\r`;
    const text = above === '' ? '' : `${clearToEnd}${above}`;
    if (this.#run === undefined) {
      this.#output.write(`${back}${text}`);
      return;
    }
    const state = { run: this.#run, last: this.#last, evaluation: this.#evaluation, losses: this.#losses };
    const lines = renderBlock(state, columns);
    const body = lines.map((line) => `${paintLine(line, columns - 1, this.#paint)}${clearLine}\n`).join('');
    this.#output.write(`${back}${text}${body}${clearToEnd}`);
    this.#drawn = lines.map((line) => Math.min(widthOf(line), columns - 1));
    this.#drawnAtMs = this.#now();
  }
}
