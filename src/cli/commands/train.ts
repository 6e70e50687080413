import { createProgress } from '../../telemetry/index.ts';
import type { Command } from '../command.ts';
import { loadTraining } from '../engine.ts';
import { setOption } from '../options.ts';
import { loadConfiguration, overridesFrom } from '../overrides.ts';

export const trainCommand: Command = {
  name: ['train'],
  describe: 'Train a model as a configuration says',
  positionals: ['config'],
  options: {
    set: setOption,
    trace: {
      describe: 'Write a timeline for ui.perfetto.dev to this file',
      field: 'runtime.trace',
      text: true,
    },
  },
  async run(args, { stdout, signal, onQuit }) {
    const { loadConfig } = await loadConfiguration();
    const config = loadConfig(args.positionals[0]!, await overridesFrom(trainCommand, args));
    const runTraining = await loadTraining();
    using progress = createProgress(stdout, { logEvery: config.train.logEvery });
    onQuit(() => progress.dispose());
    signal.addEventListener('abort', () =>
      progress.warn('stopping after this step; Ctrl-C again quits at once', { kind: 'signal' }),
    );
    await runTraining(config, { progress, signal });
    return 0;
  },
};
