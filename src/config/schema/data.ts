import { z } from 'zod';
import { bool, bytes, integer, oneOf, orNull, pathList, real, text } from './fields.ts';

export const dataSchema = z
  .strictObject({
    train: pathList('path, glob or list of them')
      .default([])
      .describe('Training files. Empty when a script passes its own data.'),
    validation: pathList('path, glob or list of them')
      .default([])
      .describe('Validation files. Empty: a part of the training data is held out, see validationFraction.'),
    validationFraction: real({ min: 0, below: 1 })
      .default(0.05)
      .describe('Share of the training data held out when no validation files are given; 0 holds out nothing.'),
    validationSplit: oneOf(['end', 'documents'])
      .default('end')
      .describe('What is held out: the end of the training data, or documents chosen by their content.'),
    format: oneOf(['auto', 'text', 'jsonl', 'chat'])
      .default('auto')
      .describe('How files are read: text as it is, one JSON object a line, or conversations. auto goes by the name.'),
    field: text('name of a field').default('text').describe('The field of a JSONL object that holds the text.'),
    tokenizer: text('byte, or path of a tokenizer')
      .default('byte')
      .describe('byte (one token per byte, needs no file), a tokenizer.json, or a folder that holds one.'),
    sequenceLength: integer({ min: 1 }).default(256).describe('Tokens per training sequence.'),
    documentSeparator: oneOf(['auto', 'endOfText', 'none'])
      .default('auto')
      .describe(
        "What follows each document: the tokenizer's end-of-text token, or nothing. auto takes the token where there is one.",
      ),
    chatTemplate: orNull(oneOf(['chatml', 'llama3', 'plain']))
      .default(null)
      .describe(
        'How conversations become text; chatml when format is chat. With format: auto, giving one means that JSONL files hold conversations.',
      ),
    maxBytes: orNull(bytes())
      .default(null)
      .describe('Use at most this much of the training files, in their order; null uses all.'),
    shuffle: bool().default(true).describe('Visit sequences in an order drawn from the seed and the epoch.'),
    cache: text('folder').default('.tierra/cache').describe('Where tokenized data is kept between runs.'),
  })
  .prefault({})
  .describe('What the model learns from.');
