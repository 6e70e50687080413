/**
 * A parallel mode of one's own: tensor parallelism whose ranks also share the tokens of what lies between the pairs of matrices (Korthikanti et
 * al. 2022). Norms and the residual stream are of t / p tokens on each of p ranks; a pair gathers them all and gives back the rank's own.
 *
 * It takes a group, layers and a rule for gradients, all from the public entrance. Shapes: b batch, t tokens, p ranks.
 */
import { dist, nn, ops, type Tensor } from '../../src/index.ts';

const tokens = 1;

/** Cut by inputs: x `[b, t, in/p]` to products that are summed over the ranks, of which each keeps its tokens `[b, t/p, out]`. */
class SummedLinear extends nn.Linear {
  readonly #line: dist.Group;

  constructor(inFeatures: number, outFeatures: number, options: nn.LinearOptions, line: dist.Group) {
    super(inFeatures, outFeatures, options);
    this.#line = line;
  }

  override forward(x: Tensor): Tensor {
    const y = dist.reduceScatterToGroup(ops.linear(x, this.weight.tensor), this.#line, tokens);
    return this.bias === null ? y : ops.add(y, this.bias.tensor);
  }
}

/** This rank's equal part of `size` features that only go together in `unit`s, such as the heads of attention. */
function partOf(size: number, unit: number, { rank, size: ranks }: dist.Group): nn.PartRange {
  if (size % (unit * ranks) !== 0)
    throw new Error(`${size / unit} pieces of ${unit} do not divide over ${ranks} ranks`);
  return { begin: (rank * size) / ranks, end: ((rank + 1) * size) / ranks };
}

/** The layers of models that ask `layers()` for them, on one of the ranks of `line`. */
export function tokenLine(line: dist.Group): nn.LayerFactory {
  const place = { kind: '1d', groups: { line } } as const;
  const whole = (size: number): nn.PartRange => ({ begin: 0, end: size });
  return {
    ...nn.wholeLayers,
    /** Backward is a reduce-scatter: each rank's columns used the gathered tokens in their own way. */
    enter: (x) => dist.gatherFromGroup(x, line, tokens, true),
    // Attention is over heads of each rank's own: what it drops is its own affair.
    drawApart: (body) => nn.randomKeys.apart(line.rank, body),

    linear(inFeatures, outFeatures, options, { along, unit = 1, entered = false }) {
      const shape = [outFeatures, inFeatures];
      if (along === 'in') {
        const weight = { shape, ranges: [[whole(outFeatures)], [partOf(inFeatures, unit, line)]] };
        return new SummedLinear(inFeatures, outFeatures, { ...options, parts: { weight, bias: null } }, line);
      }
      if (!entered) throw new Error('this mode is for models whose pairs call enter(), as the Llama family does');
      const own = partOf(outFeatures, unit, line);
      const bias = { shape: [outFeatures], ranges: [[own]] };
      const weight = { shape, ranges: [[own], [whole(inFeatures)]] };
      return new nn.Linear(inFeatures, outFeatures, { ...options, parts: { weight, bias } });
    },
    linearInOut() {
      throw new Error('this mode has no layers for weights stored [in, out]');
    },
    headNorm: (size, epsilon) => new nn.RMSNorm(size, epsilon),
    embedding: (vocabulary, width, init) =>
      new dist.VocabularyEmbedding1D(vocabulary, width, { init, place, sequence: true }),
    head: (width, vocabulary, { init, weight }) =>
      new dist.VocabularyHead1D(width, vocabulary, {
        init,
        place,
        sequence: true,
        ...(weight === null ? {} : { weight }),
      }),
  };
}

/**
 * The rule: what is whole on every rank of the line has seen a part of the tokens on each of them, so its gradient is the sum over the line
 * too. What is cut has seen all tokens: the mesh's own rule holds.
 */
export function tokenLineGradients(mesh: dist.Mesh): (parameter: nn.Parameter) => dist.Group | null {
  const all = mesh.group('dp', 'sp', 'ep', 'tp');
  return ({ whole }) => (whole === null ? all : null);
}
