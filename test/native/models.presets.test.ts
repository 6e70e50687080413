/** Models are shapes until their parameters are placed. */
import { describe, expect, it } from 'vitest';
import { buildModel, type LanguageModel, presets } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { collectUnits, nameParameters, parametersOutsideUnits, placeParameters } from '../../src/nn/index.ts';

const preset = (name: string, overrides = {}): LanguageModel => buildModel({ preset: name, overrides }).model;

/** From the models' own cards; tied weights count once. */
const published: readonly (readonly [string, number])[] = [
  ['gpt2', 124_439_808],
  ['gpt2-medium', 354_823_168],
  ['gpt2-large', 774_030_080],
  ['gpt2-xl', 1_557_611_200],
  ['llama-1.1b', 1_100_048_384],
  ['llama-3.2-1b', 1_235_814_400],
  ['llama-3.2-3b', 3_212_749_824],
  ['llama-2-7b', 6_738_415_616],
  ['llama-2-13b', 13_015_864_320],
  ['llama-3-8b', 8_030_261_248],
  ['llama-3-70b', 70_553_706_496],
];

describe('presets', () => {
  it.each(published)('%s has the published number of parameters', (name, parameters) => {
    expect(preset(name).parameterCount).toBe(parameters);
  });

  it.each(Object.keys(presets))('%s is a sequence of units that holds every parameter', (name) => {
    const model = preset(name);
    const units = collectUnits(model);
    expect(units).toHaveLength(model.stages);
    expect(parametersOutsideUnits(model, units)).toEqual([]);
    const named = name.match(/-(\d+(?:\.\d+)?)(m|b)$/);
    if (named === null) return;
    const said = Number(named[1]) * (named[2] === 'm' ? 1e6 : 1e9);
    expect(Math.abs(model.parameterCount - said) / said).toBeLessThan(0.25);
  });

  it('takes no memory, whatever the size', () => {
    preset('gpt2'); // the addon and what it loads are there from here on
    const [live, before] = [native().liveTensors(), process.memoryUsage().rss];
    const model = preset('llama-3-70b');
    nameParameters(model);
    collectUnits(model);
    expect(model.parameterCount).toBe(70_553_706_496);
    expect(native().liveTensors()).toBe(live);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
    expect(() => model.parameters()[0]!.tensor).toThrow('parameter embedding.tokens.weight has no memory yet');
  });

  it('can be changed field by field', () => {
    const model = preset('llama-bytes-1m', { num_hidden_layers: 2, tie_word_embeddings: true });
    expect(model.blocks).toHaveLength(2);
    placeParameters(model, { seed: 1, dtype: 'float32', device: 'cpu' });
    expect(model.parameters().every((parameter) => parameter.isPlaced)).toBe(true);
    const live = native().liveTensors();
    model.unplace();
    expect(native().liveTensors()).toBe(live - model.parameters().length);
  });
});
