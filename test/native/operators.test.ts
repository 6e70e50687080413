/** Every typed operator is declared as the running libtorch has it. */
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import '../../src/dist/tensor/operators.ts';
import '../../src/nn/index.ts';
import '../../src/nn/losses.ts';
import '../../src/tensor/index.ts';
import { ops } from '../../src/tensor/index.ts';
import { declaredSchemas, operator } from '../../src/tensor/operator.ts';

interface Schema {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly returns: string;
}

function parse(schema: string): Schema {
  const [, name, parameters, returns] = /^([\w:.]+)\((.*)\) -> (.+)$/.exec(schema) ?? [];
  expect(name, `not a schema: ${schema}`).toBeDefined();
  return { name: name!, parameters: parameters === '' ? [] : parameters!.split(', '), returns: returns! };
}

/** Numbers and quotes are printed differently from version to version. */
function plain(parameter: string | undefined): string | undefined {
  return parameter?.replace(/=(.*)$/, (_, value: string) => {
    const number = Number(value);
    return `=${Number.isNaN(number) ? value.replaceAll("'", '"') : number}`;
  });
}

/** What of `declared` libtorch has otherwise; parameters that later versions add at the end must have defaults. */
function drift(declared: string, actual: string): string | null {
  const [ours, theirs] = [parse(declared), parse(actual)];
  const added = theirs.parameters.slice(ours.parameters.length);
  const same =
    ours.name === theirs.name &&
    ours.returns === theirs.returns &&
    ours.parameters.every((parameter, i) => plain(parameter) === plain(theirs.parameters[i])) &&
    added.every((parameter) => parameter === '*' || parameter.includes('='));
  return same ? null : `declared ${declared}\nlibtorch ${actual}`;
}

describe('typed operators', () => {
  it('are declared at all', () => {
    expect(declaredSchemas.length).toBeGreaterThan(80);
    expect(declaredSchemas.some((schema) => schema.startsWith('tierra::'))).toBe(true);
  });

  it('are declared once each', () => {
    const names = declaredSchemas.map((schema) => parse(schema).name);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  it.each(declaredSchemas.map((schema) => [parse(schema).name, schema]))('%s', (name, schema) => {
    const [qualified = '', overload = ''] = name!.split('.');
    const actual = native().operatorSchema(native().findOperator(qualified, overload));
    expect(drift(schema!, actual)).toBeNull();
  });

  it('would be seen to drift', () => {
    const schema = 'aten::f(Tensor self, int dim=-1) -> Tensor';
    expect(drift(schema, 'aten::f(Tensor self, int dim=-1, *, bool more=False) -> Tensor')).toBeNull();
    expect(drift(schema, 'aten::f(Tensor self, int dim=-1, bool more) -> Tensor')).not.toBeNull();
    expect(drift(schema, 'aten::f(Tensor self, int dim=0) -> Tensor')).not.toBeNull();
    expect(drift(schema, 'aten::f(Tensor self, int dim=-1) -> (Tensor, Tensor)')).not.toBeNull();
  });

  it('says which operator libtorch lacks', () => {
    const count = declaredSchemas.length;
    const missing = operator<[], unknown>('aten::no_such_thing(Tensor self) -> Tensor');
    declaredSchemas.length = count;
    expect(missing).toThrow('no_such_thing');
  });

  it('take plain numbers and give typed results', () => {
    const [values, places] = ops.topk(ops.fromArray([3, 9, 4]), 2);
    expect([ops.toArray(values), ops.toArray(places), places.dtype]).toEqual([[9, 4], [1, 2], 'int64']);
    expect(ops.toArray(ops.add(ops.fromArray([1, 2]), 0.5))).toEqual([1.5, 2.5]);
  });
});
