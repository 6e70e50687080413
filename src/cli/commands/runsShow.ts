import {
  checkpointsOf,
  evaluationsOf,
  eventsOf,
  findRun,
  memoryOf,
  movementOf,
  piecesOf,
  pointsOf,
  runDetails,
} from '../../telemetry/runStore/index.ts';
import type { Command } from '../command.ts';
import { screenOf } from '../runs/screen.ts';
import { showText } from '../runs/showText.ts';
import { storeOption, withStore } from '../runs/store.ts';

export const runsShowCommand: Command = {
  name: ['runs', 'show'],
  describe: 'Show a run: its curves, memory, waits and events',
  positionals: ['run'],
  options: {
    events: { describe: 'Show all events instead of the last few', bare: true },
    store: storeOption,
  },
  run: (args, { stdout }) =>
    withStore(args, (database) => {
      const { number } = findRun(database, args.positionals[0]!);
      const run = runDetails(database, number)[0]!;
      const screen = screenOf(stdout);
      const shown = {
        run,
        // Two dots a cell.
        points: pointsOf(piecesOf(database, number), 2 * screen.columns),
        evaluations: evaluationsOf(database, run),
        checkpoints: checkpointsOf(database, number),
        events: eventsOf(database, number),
        memory: memoryOf(database, run.sessions.at(-1)!.number),
        movement: movementOf(database, number),
        allEvents: args.flags.has('events'),
      };
      stdout.write(showText(shown, screen));
      return 0;
    }),
};
