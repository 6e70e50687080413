/** Where infinite or NaN numbers of a step came from first. */
import type { Unit } from '../../nn/index.ts';

export interface NonFiniteOrigin {
  /**
   * `input`: what a unit was called with; `parameter`: a weight; `output`: what a unit computed from finite numbers;
   * `loss`: what came after the last unit; `gradient`: backward, after a sound forward pass; `gone`: a second forward pass
   * does not show it.
   */
  readonly kind: 'input' | 'parameter' | 'output' | 'loss' | 'gradient' | 'gone';
  /** From 0; null where all micro-batches are summed. */
  readonly microBatch: number | null;
  readonly unit: string | null;
  readonly parameter: string | null;
}

/** As a clause: "first met in …". */
export function originText({ kind, microBatch, unit, parameter }: NonFiniteOrigin): string {
  const where = microBatch === null ? '' : ` of micro-batch ${microBatch + 1}`;
  switch (kind) {
    case 'input':
      return `first met in the input of ${unit} in the forward pass${where}`;
    case 'parameter':
      return `first met in the weights of ${unit}: ${parameter} is infinite or NaN itself`;
    case 'output':
      return `first met in the output of ${unit} in the forward pass${where}, from finite inputs and weights`;
    case 'loss':
      return `first met in the loss${where}, which is made from finite outputs of all units`;
    case 'gradient':
      return unit === null
        ? `among them that of ${parameter}`
        : `first met in the gradient of ${parameter} in the backward pass of ${unit}`;
    case 'gone':
      return 'not there when the forward pass is run again: suspect the hardware, or a model that reads something else than its inputs';
  }
}

/**
 * The unit in whose backward bad gradients appeared first, judged by which parameters have them: backward walks from the
 * last unit to the first and spreads them. A tied parameter speaks for none of its units while another does.
 */
export function gradientOrigin(units: readonly Unit[], suspects: readonly string[]): NonFiniteOrigin {
  const names = new Set(suspects);
  const owners = new Map<string, number>();
  for (const unit of units) {
    for (const { name } of unit.parameters) owners.set(name, (owners.get(name) ?? 0) + 1);
  }
  const tied = (name: string): boolean => owners.get(name)! > 1;
  for (const speaks of [(name: string) => !tied(name), () => true]) {
    for (const unit of [...units].reverse()) {
      const bad = unit.parameters.find(({ name }) => names.has(name) && speaks(name));
      if (bad !== undefined) return { kind: 'gradient', microBatch: null, unit: unit.name, parameter: bad.name };
    }
  }
  const [parameter] = suspects; // of a unit that another rank has
  if (parameter !== undefined) return { kind: 'gradient', microBatch: null, unit: null, parameter };
  return { kind: 'gone', microBatch: null, unit: null, parameter: null };
}
