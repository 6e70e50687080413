/**
 * Typed operators over the dispatcher door. Each is declared with the schema libtorch prints for it; a test compares
 * every declaration with the running libtorch, so a drift between versions is seen before a model is.
 */
import type { Boxed, OperatorId, Unboxed } from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { Dtype } from './dtype.ts';
import { dtypeCode } from './dtype.ts';
import { adopt, Tensor } from './tensor.ts';

/** What typed operators take; a `Dtype` name stands for libtorch's ScalarType code. */
export type Operand =
  | Tensor
  | number
  | boolean
  | string
  | null
  | undefined
  | readonly (Tensor | number | boolean | null)[];

/** Marks a dtype argument, so that it is not read as a string. */
export function scalarType(dtype: Dtype | undefined): number | undefined {
  return dtype === undefined ? undefined : dtypeCode(dtype);
}

/** Every schema declared through `operator`, for the test. */
export const declaredSchemas: string[] = [];

/** Told of every operator call: its arguments, its typed result, and whether the result may be a view of an argument. */
export type OperatorObserver = (args: readonly Operand[], result: unknown, isView: boolean) => void;

let observer: OperatorObserver | null = null;

/** Runs `body` with `told` hearing of every operator call in it; null silences a surrounding observer. */
export function observingOperators<Result>(told: OperatorObserver | null, body: () => Result): Result {
  const before = observer;
  observer = told;
  try {
    return body();
  } finally {
    observer = before;
  }
}

let argumentWatcher: ((tensor: Tensor) => void) | null = null;

/** Runs `body` with `told` hearing of every tensor that an operator in it is given, inside units as well. */
export function watchingArguments<Result>(told: (tensor: Tensor) => void, body: () => Result): Result {
  const before = argumentWatcher;
  argumentWatcher = told;
  try {
    return body();
  } finally {
    argumentWatcher = before;
  }
}

/** An operator from its schema, e.g. `aten::mm(Tensor self, Tensor mat2) -> Tensor`. Found in libtorch at first call. */
export function operator<Args extends readonly Operand[], Result>(schema: string): (...args: Args) => Result {
  declaredSchemas.push(schema);
  const [, qualified = '', , returns = ''] = /^([\w:.]+)\((.*)\) -> (.+)$/.exec(schema) ?? [];
  const [name = '', overload = ''] = qualified.split('.');
  const wrap = returns.includes('Tensor') ? wrapTensors : (value: Unboxed) => value;
  const isView = /^Tensor\(\w/.test(returns);
  let id: OperatorId | undefined;
  return (...args) => {
    const binding = native();
    id ??= binding.findOperator(name, overload);
    const result = wrap(binding.call(id, ...args.map(box)));
    observer?.(args, result, isView);
    return result as Result;
  };
}

function box(operand: Operand): Boxed {
  if (operand instanceof Tensor) return boxTensor(operand);
  if (Array.isArray(operand)) return operand.map((item) => (item instanceof Tensor ? boxTensor(item) : item));
  return operand as Boxed;
}

function boxTensor(tensor: Tensor): number {
  argumentWatcher?.(tensor);
  return tensor.handle;
}

function wrapTensors(value: Unboxed): Tensor | null | readonly unknown[] {
  if (Array.isArray(value)) return value.map(wrapTensors);
  return typeof value === 'number' ? adopt(value) : null;
}
