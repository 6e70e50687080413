import type { Config } from '../../config/index.ts';
import type { Command, Option } from '../command.ts';
import { loadGeneration } from '../engine.ts';
import { deviceOption, setOption } from '../options.ts';
import { loadConfiguration, overridesFrom } from '../overrides.ts';

const sample = (field: keyof Config['sample'], describe: string): Option => ({
  describe,
  field: `sample.${field}`,
});

export const generateCommand: Command = {
  name: ['generate'],
  describe: 'Generate text with a trained model',
  positionals: ['checkpoint'],
  options: {
    prompt: { ...sample('prompt', 'Text to continue'), text: true },
    tokens: sample('tokens', 'Tokens to generate'),
    temperature: sample('temperature', 'Above 1 is bolder, 0 always takes the likeliest token'),
    'top-k': sample('topK', 'Draw from the k likeliest tokens only'),
    'top-p': sample('topP', 'Draw from the likeliest tokens that together have this probability'),
    seed: sample('seed', 'Seed of the draw'),
    device: deviceOption,
    set: setOption,
  },
  async run(args, { stdout, signal }) {
    const { resolveConfig } = await loadConfiguration();
    const config = resolveConfig({}, await overridesFrom(generateCommand, args));
    const runGeneration = await loadGeneration();
    await runGeneration(config, {
      checkpoint: args.positionals[0]!,
      write: (text) => stdout.write(text),
      signal,
    });
    return 0;
  },
};
