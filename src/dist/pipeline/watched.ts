/** One micro-batch through this rank's stages on made-up inputs, for stores that watch before they plan. */
import type { DeviceName } from '../../native/binding.ts';
import { ForwardRunner, randomKeys, Tape, type UnitHost, withRunner } from '../../nn/index.ts';
import type { SequenceModel } from '../../nn/sequence.ts';
import { isFloating, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { PipelineLayout } from './layout.ts';
import { formOf, type TensorForm } from './messages.ts';

export interface WatchedParts<Batch> {
  readonly model: SequenceModel<Batch>;
  readonly device: DeviceName;
  readonly batch: Batch;
  readonly layout: PipelineLayout;
  readonly rank: number;
  readonly edges: {
    /** Form of a stage's input. */
    before(stage: number): TensorForm;
    /** Told the form of a stage's output. */
    after(stage: number, form: TensorForm): void;
  };
}

export class WatchedStages<Batch> {
  readonly #parts: WatchedParts<Batch>;

  constructor(parts: WatchedParts<Batch>) {
    this.#parts = parts;
  }

  forward(host: UnitHost): void {
    for (const stage of this.#stages) {
      noGrad(() =>
        scope(() => {
          const output = withRunner(new ForwardRunner(host), () => this.#run(stage, this.#input(stage)));
          this.#parts.edges.after(stage, formOf(output));
        }),
      );
    }
  }

  /** Forward of all own stages, then backward of all, latest first. */
  training(host: UnitHost): void {
    randomKeys.begin({ seed: 0, step: 0, microBatch: 0 });
    const done: { readonly tape: Tape; readonly output: Tensor }[] = [];
    try {
      for (const stage of this.#stages) {
        const tape = new Tape(host);
        const input = noGrad(() => this.#input(stage))?.keep() ?? null;
        if (input !== null) tape.input(input);
        const output = scope(() => tape.record(() => this.#run(stage, input))).keep();
        done.push({ tape, output });
        this.#parts.edges.after(stage, formOf(output));
      }
      for (const { tape, output } of [...done].reverse()) {
        scope(() => {
          const { shape, dtype, device } = output;
          tape.beginFrom(output, ops.full(shape, 1, { dtype, device }));
          while (tape.backwardOne() !== null);
        });
      }
    } finally {
      for (const { tape, output } of done) {
        tape.clear();
        output.dispose();
      }
    }
  }

  get #stages(): readonly number[] {
    return this.#parts.layout.stagesOf[this.#parts.rank]!;
  }

  #input(stage: number): Tensor | null {
    if (stage === 0) return null;
    const { dtype, shape } = this.#parts.edges.before(stage);
    const input = ops.empty(shape, { dtype, device: this.#parts.device });
    if (isFloating(dtype)) ops.normalInPlace(input, 0, 1);
    return input;
  }

  #run(stage: number, input: Tensor | null): Tensor {
    const { model, layout, batch } = this.#parts;
    const { first, end } = layout.stages[stage]!;
    let x = input;
    for (let unit = first; unit < end; unit++) {
      const next = model.runStage(unit, x, batch);
      if (next !== x) x?.dispose();
      x = next;
    }
    return x!;
  }
}
