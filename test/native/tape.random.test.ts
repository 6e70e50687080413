/** Random graphs of units and glue: whatever their shape, the tape's gradients are those of plain autograd, bit for bit. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import {
  type ActivationPolicy,
  collectUnits,
  Dropout,
  Linear,
  Module,
  type Parameter,
  placeParameters,
  randomKeys,
  Tape,
  type Unit,
  type UnitHost,
} from '../../src/nn/index.ts';
import { grad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';

const width = 5;
const rows = 3;

/** Takes one tensor, uses it twice, drops. */
class One extends Module<[Tensor], Tensor> {
  readonly inner: Linear;
  readonly drop = new Dropout(0.3);
  constructor(weight?: Parameter) {
    super();
    this.inner = new Linear(width, width, weight === undefined ? {} : { weight });
  }
  forward(x: Tensor): Tensor {
    return ops.add(ops.mul(x, this.drop.call(this.inner.call(x))), x);
  }
}

/** Takes two tensors, which may be the same, and gives two. */
class Two extends Module<[{ a: Tensor; list: readonly Tensor[] }], readonly [Tensor, Tensor]> {
  readonly left = new Linear(width, width, { bias: false });
  readonly right = new Linear(width, width);
  readonly drop = new Dropout(0.2);
  forward({ a, list: [b] }: { a: Tensor; list: readonly Tensor[] }): readonly [Tensor, Tensor] {
    const [l, r] = [ops.tanh(this.left.call(a)), this.right.call(b!)];
    return [ops.add(this.drop.call(l), r), ops.mul(r, a)];
  }
}

class Zoo extends Module {
  readonly ones: readonly One[];
  readonly twos = [new Two().unit(), new Two().unit()];
  constructor() {
    super();
    const first = new One().unit();
    this.ones = [first, new One().unit(), new One(first.inner.weight).unit()];
  }
  forward(): void {}
}

type Step =
  | { readonly kind: 'one'; readonly unit: number; readonly from: number }
  | { readonly kind: 'two'; readonly unit: number; readonly from: number; readonly other: number }
  | {
      readonly kind: 'glue';
      readonly op: keyof typeof glue;
      readonly from: number;
      readonly other: number;
    };

const place = fc.nat({ max: 30 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('one' as const), unit: fc.nat({ max: 2 }), from: place }),
  fc.record({ kind: fc.constant('two' as const), unit: fc.nat({ max: 1 }), from: place, other: place }),
  fc.record({
    kind: fc.constant('glue' as const),
    op: fc.constantFrom<keyof typeof glue>('add', 'mul', 'tanh', 'half', 'view', 'constant'),
    from: place,
    other: place,
  }),
);
const policy = fc.constantFrom<ActivationPolicy>('keep', 'recompute', 'park');
const program = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 9 }),
  losses: fc.array(place, { minLength: 1, maxLength: 3 }),
  letGo: fc.boolean(),
  policies: fc.tuple(policy, policy, policy, policy, policy),
});
type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never;

/** Counts back from the newest tensor, so that long chains are common. */
const pick = (pool: readonly Tensor[], back: number): Tensor => pool[pool.length - 1 - (back % pool.length)]!;

const glue = {
  add: (a: Tensor, b: Tensor) => ops.add(a, b),
  mul: (a: Tensor, b: Tensor) => ops.mul(a, b),
  tanh: (a: Tensor) => ops.tanh(a),
  half: (a: Tensor) => ops.mul(a, 0.5),
  view: (a: Tensor) => ops.reshape(a, [rows, width]),
  constant: (a: Tensor, _b: Tensor, x: Tensor) => ops.mul(a, x),
};

/** Runs a program; with `letGo`, lets go of tensors as careful model code does. */
function run(zoo: Zoo, x: Tensor, { steps, losses, letGo }: Program): Tensor[] {
  const pool = [zoo.ones[0]!.call(x)];
  const uses = lastUses(steps, losses);
  for (const [at, step] of steps.entries()) {
    const from = pick(pool, step.from);
    if (step.kind === 'one') pool.push(zoo.ones[step.unit]!.call(from));
    else if (step.kind === 'two') pool.push(...zoo.twos[step.unit]!.call({ a: from, list: [pick(pool, step.other)] }));
    else pool.push(glue[step.op](from, pick(pool, step.other), x));
    if (letGo) for (const [index, last] of uses.entries()) if (last === at) pool[index]!.dispose();
  }
  return losses.map((back) => {
    const y = pick(pool, back);
    return ops.mean(ops.mul(y, y));
  });
}

/** For each tensor of the pool the step that uses it last; the number of steps where a loss does. */
function lastUses(steps: readonly Step[], losses: readonly number[]): number[] {
  const last = [0];
  for (const [at, step] of steps.entries()) {
    const froms = 'other' in step ? [step.from, step.other] : [step.from];
    for (const back of froms) last[last.length - 1 - (back % last.length)] = at;
    last.push(at, ...(step.kind === 'two' ? [at] : []));
  }
  for (const back of losses) last[last.length - 1 - (back % last.length)] = steps.length;
  return last;
}

/** Collects gradients; parameters have bytes only while their unit works, inputs lose theirs while parked. */
class Host implements UnitHost {
  readonly gradients = new Map<Parameter, Tensor>();
  parked = 0;
  readonly #arena = native().arenaCreate('host', 1 << 16, 0, false);
  readonly #bytes = new Map<Tensor, Uint8Array>();
  readonly #places = new Map<Parameter, number>();
  #used = 0;

  constructor(parameters: readonly Parameter[]) {
    for (const parameter of parameters) {
      this.#places.set(parameter, this.#used);
      native().arenaWrite(this.#arena, this.#used, ops.toBytes(parameter.tensor));
      native().unbindStorage(parameter.tensor.handle);
      this.#used += bytesPerTensor;
    }
  }

  acquire(unit: Unit): void {
    for (const parameter of unit.parameters) {
      const { handle, bytes } = parameter.tensor;
      native().bindStorage(handle, this.#arena, this.#places.get(parameter)!, bytes);
    }
  }

  release(unit: Unit): void {
    for (const { tensor } of unit.parameters) native().unbindStorage(tensor.handle);
  }

  park(input: Tensor): void {
    expect(this.#bytes.has(input)).toBe(false);
    this.#bytes.set(input, ops.toBytes(input));
    native().unbindStorage(input.handle);
    this.parked++;
  }

  unpark(input: Tensor): void {
    const bytes = this.#bytes.get(input)!;
    this.#bytes.delete(input);
    native().arenaWrite(this.#arena, this.#used, bytes);
    native().bindStorage(input.handle, this.#arena, this.#used, bytes.length);
    this.#used += bytesPerTensor;
  }

  gradientsReady(unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    for (const [index, parameter] of unit.parameters.entries()) {
      const gradient = gradients[index];
      if (gradient == null) continue;
      const sum = this.gradients.get(parameter);
      if (sum === undefined) this.gradients.set(parameter, gradient);
      else {
        this.gradients.set(parameter, ops.add(sum, gradient).keep());
        for (const tensor of [sum, gradient]) tensor.dispose();
      }
    }
  }

  dispose(): void {
    native().arenaDestroy(this.#arena);
  }
}

const hex = (tensor: Tensor): string => Buffer.from(ops.toBytes(tensor)).toString('hex');
const begin = () => randomKeys.begin({ seed: 9, step: 2, microBatch: 1 });
const bytesPerTensor = 256;

/** Gradients by parameter of plain autograd; null where a loss does not depend on one. */
function plainly(zoo: Zoo, input: Tensor, program: Program): { losses: string[]; gradients: (string | null)[] } {
  begin();
  const losses = withGrad(() => run(zoo, input, program));
  const gradients = grad(
    losses,
    zoo.parameters().map(({ tensor }) => tensor),
  );
  return { losses: losses.map(hex), gradients: gradients.map((gradient) => gradient && hex(gradient)) };
}

/** Compares, and returns how many tensors were parked on the way. */
function check(program: Program): number {
  const zoo = new Zoo();
  const units = collectUnits(zoo);
  for (const [i, unit] of units.entries()) unit.activations = program.policies[i]!;
  placeParameters(zoo, { seed: 4, dtype: 'float32', device: 'cpu' });
  const live = native().liveTensors();
  const sines = Array.from({ length: rows * width }, (_, i) => Math.sin(i + 1));
  const plain = scope(() => plainly(zoo, ops.fromArray(sines, [rows, width]), program));
  const host = new Host(zoo.parameters());
  scope(() => {
    const tape = new Tape(host);
    begin();
    const losses = tape.record(() => run(zoo, ops.fromArray(sines, [rows, width]), program));
    expect(losses.map(hex)).toEqual(plain.losses);
    tape.backward(losses);
    expect(tape.length).toBe(0);
    const own = zoo.parameters().map((parameter) => host.gradients.get(parameter));
    expect(own.map((gradient) => (gradient === undefined ? null : hex(gradient)))).toEqual(plain.gradients);
    for (const gradient of host.gradients.values()) gradient.dispose();
  });
  expect(native().liveTensors()).toBe(live);
  zoo.unplace();
  host.dispose();
  return host.parked;
}

describe('the tape on random graphs', () => {
  afterEach(() => randomKeys.begin({ seed: 0, step: 0, microBatch: 0 }));

  it('equals plain autograd', () => {
    let parked = 0;
    fc.assert(
      fc.property(program, (made) => {
        parked += check(made);
      }),
      { numRuns: 400, seed: 20261122 },
    );
    expect(parked).toBeGreaterThan(50);
  });
});
