import { z } from 'zod';
import { bool, freeForm, oneOf, text } from './fields.ts';

export const architectures = ['gpt2', 'llama', 'qwen2', 'qwen3', 'mistral', 'mixtral'] as const;

const presetModel = z.strictObject({
  preset: text('name of a preset').describe('A shape that Tierra knows by name, with random weights.'),
  overrides: freeForm('fields of a Hugging Face config.json')
    .default({})
    .describe("Fields of the preset to change, named as in Hugging Face's config.json."),
});

const checkpointModel = z.strictObject({
  path: text('folder').describe('A Hugging Face checkpoint folder: config.json and safetensors.'),
  weights: bool()
    .default(true)
    .describe('Load the weights; false takes the shape only and starts from random weights.'),
});

const describedModel = z.strictObject({
  architecture: oneOf(architectures).describe('The family whose code runs the model.'),
  config: freeForm('fields of a Hugging Face config.json')
    .default({})
    .describe("The shape, with the fields of Hugging Face's config.json."),
});

/** Given by exactly one of `preset`, `path`, `architecture`. Null when the script passes a model of its own. */
export const modelSchema = z
  .union([presetModel, checkpointModel, describedModel])
  .nullable()
  .default(null)
  .describe(
    'What to train. Give exactly one of preset, path or architecture; null when a script passes its own model.',
  );
