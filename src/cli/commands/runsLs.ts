import { runDetails } from '../../telemetry/runStore/index.ts';
import type { Command } from '../command.ts';
import { listText } from '../runs/listText.ts';
import { screenOf } from '../runs/screen.ts';
import { storeOption, withStore } from '../runs/store.ts';

export const runsLsCommand: Command = {
  name: ['runs', 'ls'],
  describe: 'List recorded runs, the newest first',
  positionals: [],
  options: { store: storeOption },
  run: (args, { stdout }) =>
    withStore(args, (database) => {
      stdout.write(listText(database, runDetails(database), screenOf(stdout)));
      return 0;
    }),
};
