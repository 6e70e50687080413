import { type HeadLayer, layers, Module, type Parameter, type UnitOptions } from '../nn/index.ts';
import { ops, type Tensor } from '../tensor/index.ts';

/**
 * The end of a language model: final norm, projection to the vocabulary, and with labels the loss.
 */
export class LanguageHead extends Module<[Tensor, Tensor | null], Tensor> {
  readonly norm: Module<[Tensor], Tensor>;
  readonly projection: HeadLayer;

  /** `tied` is the embedding's weight `[vocabulary, width]` where head and embedding share it. */
  constructor(norm: Module<[Tensor], Tensor>, width: number, vocabulary: number, tied: Parameter | null, std: number) {
    super();
    this.norm = norm;
    const init = (tensor: Tensor) => ops.normalInPlace(tensor, 0, std);
    this.projection = layers().head(width, vocabulary, { init, weight: tied });
  }

  /**
   * Where the loss is fused the graph is little more than the normed hidden states, and backward comes next: a forward run again
   * would be for nothing.
   */
  override unit(options: UnitOptions = this.projection.fusesLoss === true ? { activations: 'keep' } : {}): this {
    return super.unit(options);
  }

  /** x `[b, t, width]`; labels `[b, t]` give the mean loss, null the logits `[b, t, vocabulary]`. */
  forward(x: Tensor, labels: Tensor | null): Tensor {
    const hidden = this.norm.call(x);
    if (labels === null) return this.projection.call(hidden);
    return this.projection.loss(hidden, labels);
  }
}
