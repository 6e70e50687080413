import { z } from 'zod';
import { bool, fraction, integer, oneOf, orNull, pathList, text } from './fields.ts';

export const dataSchema = z
  .strictObject({
    train: pathList('path, glob or list of them')
      .default([])
      .describe('Training files. Empty when a script passes its own data.'),
    validation: pathList('path, glob or list of them')
      .default([])
      .describe('Validation files. Empty: a part of the training data is held out, see validationFraction.'),
    validationFraction: fraction()
      .default(0.05)
      .describe('Share of the training data held out for validation when no validation files are given.'),
    format: oneOf(['auto', 'text', 'jsonl', 'chat'])
      .default('auto')
      .describe(
        'How files are read: text as it is, one JSON object a line, or conversations. auto goes by name and content.',
      ),
    field: text('name of a field').default('text').describe('The field of a JSONL object that holds the text.'),
    tokenizer: text('byte, or path of a tokenizer')
      .default('byte')
      .describe('byte (256 symbols, nothing to download), a tokenizer.json, or a folder that holds one.'),
    sequenceLength: integer({ min: 1 }).default(256).describe('Tokens per training sequence.'),
    documentSeparator: orNull(text('auto, a token'))
      .default('auto')
      .describe(
        "Token put after each document: auto takes the tokenizer's end-of-text token, null joins documents with nothing between them.",
      ),
    chatTemplate: oneOf(['chatml', 'llama3', 'mistral', 'zephyr'])
      .default('chatml')
      .describe('How conversations become text when format is chat.'),
    shuffle: bool().default(true).describe('Visit sequences in an order drawn from the seed and the epoch.'),
    cache: text('folder').default('.tierra/cache').describe('Where tokenized data is kept between runs.'),
  })
  .prefault({})
  .describe('What the model learns from.');
