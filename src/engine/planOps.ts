/**
 * A unit as a list of operators: enough to say how much memory its forward and backward take, how many multiply-adds
 * and how many bytes they move, before anything is computed.
 *
 * The rules are those of libtorch and of the tape. Until a unit returns, everything it made stays; after that, what
 * backward has to read. Backward runs the list in reverse: it makes the gradients of an operator's inputs and parameters,
 * then lets go of what that operator had saved and of the gradient of its output. Gradients of parameters stay to the end.
 */

/** One operator. Names stand for memory: a view has the name of what it is a view of. All sizes in bytes. */
export interface UnitOp {
  readonly inputs: readonly string[];
  readonly output: string;
  /** Bytes of the output; 0 when it is a view or has no memory of its own. */
  readonly bytes: number;
  /** What backward reads again, by name, and what it keeps beside: statistics, masks. */
  readonly saves?: readonly string[];
  readonly savedBytes?: number;
  /** What else it made that stays until the unit's forward returns. */
  readonly heldBytes?: number;
  /** Held only while the operator runs. */
  readonly forwardWork?: number;
  readonly backwardWork?: number;
  readonly parameterGradientBytes?: number;
  /** Multiply-adds of one forward; backward takes `backwardRatio` times as many (2 by default). */
  readonly macs?: number;
  readonly backwardRatio?: number;
  /** A step inside a composed operator: its output goes when the next operator that is not inner is done, unless it is saved. */
  readonly inner?: boolean;
  /** The gradient of the first input is that of the output: no memory, no work. */
  readonly passesGradient?: boolean;
}

/** What a unit takes beside what is there when it starts. */
export interface UnitCost {
  /** At the highest, and what stays between forward and backward (its output included). */
  readonly forwardPeakBytes: number;
  readonly keptBytes: number;
  /** Above what is there when backward begins: everything kept and the gradient of the output. */
  readonly backwardPeakBytes: number;
  readonly forwardMacs: number;
  readonly backwardMacs: number;
  /** Bytes read and written by operators that are no matrix multiplications. */
  readonly forwardTraffic: number;
  readonly backwardTraffic: number;
  readonly operators: number;
}

export interface UnitInput {
  readonly name: string;
  readonly bytes: number;
  readonly wantsGradient: boolean;
}

/**
 * Walks the list forward and backward. The last operator's output is the unit's. `block` is what the allocator takes for a
 * request.
 */
export function unitCost(
  input: UnitInput,
  plain: readonly UnitOp[],
  keep: boolean,
  block: (bytes: number) => number,
): UnitCost {
  const list = plain.map((op) => ({
    ...op,
    bytes: block(op.bytes),
    savedBytes: block(op.savedBytes ?? 0),
    heldBytes: block(op.heldBytes ?? 0),
    forwardWork: block(op.forwardWork ?? 0),
    backwardWork: block(op.backwardWork ?? 0),
    parameterGradientBytes: block(op.parameterGradientBytes ?? 0),
  }));
  const sizes = new Map<string, number>([[input.name, block(input.bytes)]]);
  for (const { output, bytes } of list) sizes.set(output, (sizes.get(output) ?? 0) + bytes);
  const forward = walkForward(input, list, sizes, keep);
  const again = keep ? forward : walkForward(input, list, sizes, true);
  const { peak, traffic } = walkBackward(input, list, sizes, keep);
  const macs = list.reduce((sum, op) => sum + (op.macs ?? 0), 0);
  const backwardMacs = list.reduce((sum, op) => sum + (op.macs ?? 0) * (op.backwardRatio ?? 2), 0);
  return {
    forwardPeakBytes: forward.peakBytes,
    keptBytes: keep ? forward.keptBytes : sizes.get(list.at(-1)!.output)!,
    backwardPeakBytes: keep ? peak : Math.max(again.peakBytes, again.liveBytes + peak),
    forwardMacs: macs,
    backwardMacs: backwardMacs + (keep ? 0 : macs),
    forwardTraffic: forward.traffic,
    backwardTraffic: traffic + (keep ? 0 : forward.traffic),
    operators: list.length,
  };
}

interface ForwardWalk {
  readonly peakBytes: number;
  /** What is there when the last operator is done, and what of it backward needs, the output included. */
  readonly liveBytes: number;
  readonly keptBytes: number;
  readonly traffic: number;
}

function walkForward(
  input: UnitInput,
  list: readonly UnitOp[],
  sizes: ReadonlyMap<string, number>,
  graph: boolean,
): ForwardWalk {
  const output = list.at(-1)!.output;
  const saved = new Set(list.flatMap(({ saves = [] }) => saves).filter((name) => name !== input.name));
  let live = 0;
  let peakBytes = 0;
  let traffic = 0;
  let beside = 0;
  let passing = 0;
  for (const op of list) {
    live += op.bytes + (op.savedBytes ?? 0) + (op.heldBytes ?? 0);
    peakBytes = Math.max(peakBytes, live + (op.forwardWork ?? 0));
    if (op.macs === undefined) traffic += op.bytes + inputBytes(op, sizes);
    if (graph) beside += op.savedBytes ?? 0;
    else live -= op.savedBytes ?? 0;
    if (op.inner === true) {
      if (!graph || !saved.has(op.output)) passing += op.bytes;
    } else {
      live -= passing;
      passing = 0;
    }
  }
  const kept = [...saved.add(output)].reduce((sum, name) => sum + sizes.get(name)!, 0) + beside;
  return { peakBytes, liveBytes: live, keptBytes: kept, traffic };
}

function inputBytes(op: UnitOp, sizes: ReadonlyMap<string, number>): number {
  return op.inputs.reduce((sum, name) => sum + sizes.get(name)!, 0);
}

/** Peak above what is there at the start. Under recomputation what the unit itself holds stays to the end. */
function walkBackward(
  input: UnitInput,
  list: readonly UnitOp[],
  sizes: ReadonlyMap<string, number>,
  keep: boolean,
): { peak: number; traffic: number } {
  const readers = new Map<string, number>();
  for (const { saves = [] } of list) for (const name of saves) readers.set(name, (readers.get(name) ?? 0) + 1);
  readers.delete(input.name);
  const inner = new Set(list.filter((op) => op.inner === true).map((op) => op.output));
  const output = list.at(-1)!.output;
  /** Gradients there are: bytes of their own, 0 where one is shared. */
  const gradients = new Map<string, number>([[output, 0]]);
  let live = 0;
  let peak = 0;
  let traffic = 0;
  const take = (bytes: number): void => {
    live += bytes;
    peak = Math.max(peak, live);
  };
  for (const op of [...list].reverse()) {
    const own = gradients.get(op.output);
    if (own === undefined) continue;
    const gradientBytes = sizes.get(op.output)!;
    take(op.backwardWork ?? 0);
    take(op.parameterGradientBytes ?? 0);
    let passedOn = false;
    for (const [position, name] of op.inputs.entries()) {
      if (name === input.name && !input.wantsGradient) continue;
      const bytes = op.passesGradient === true ? 0 : sizes.get(name)!;
      const before = gradients.get(name);
      if (op.passesGradient === true && before === undefined) {
        // Shared with the output's: the first input takes over what memory it has.
        gradients.set(name, position === 0 ? own : 0);
        passedOn ||= position === 0;
        continue;
      }
      take(bytes);
      if (op.macs === undefined) traffic += bytes + gradientBytes;
      if (before === undefined) gradients.set(name, bytes);
      else if (before > 0) live -= bytes;
      else {
        take(sizes.get(name)!);
        live -= bytes;
        gradients.set(name, sizes.get(name)!);
      }
    }
    live -= op.backwardWork ?? 0;
    if (!passedOn) live -= own;
    gradients.delete(op.output);
    live -= op.savedBytes ?? 0;
    for (const name of op.saves ?? []) {
      const left = (readers.get(name) ?? 0) - 1;
      if (readers.has(name)) readers.set(name, left);
      if (left === 0 && name !== output && (keep || inner.has(name))) live -= sizes.get(name)!;
    }
  }
  return { peak, traffic };
}
