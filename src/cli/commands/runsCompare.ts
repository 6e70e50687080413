import {
  type Database,
  evaluationsOf,
  findRun,
  piecesOf,
  pointsOf,
  runDetails,
} from '../../telemetry/runStore/index.ts';
import type { Command } from '../command.ts';
import type { Compared } from '../runs/compareText.ts';
import { screenOf } from '../runs/screen.ts';
import { storeOption, withStore } from '../runs/store.ts';

export const runsCompareCommand: Command = {
  name: ['runs', 'compare'],
  describe: 'Show two runs over each other, and what differs between them',
  positionals: ['a', 'b'],
  options: { store: storeOption },
  async run(args, { stdout }) {
    // It knows the configuration's fields, whose schema takes longer to load than all else.
    const { compareText } = await import('../runs/compareText.ts');
    return await withStore(args, (database) => {
      const [a, b] = args.positionals.map((typed) => compared(database, typed)) as [Compared, Compared];
      stdout.write(compareText([a, b], screenOf(stdout)));
      return 0;
    });
  },
};

/** Fine enough for any terminal, and for reading losses around a step. */
const mostPoints = 500;

function compared(database: Database, typed: string): Compared {
  const { number } = findRun(database, typed);
  const run = runDetails(database, number)[0]!;
  return { run, points: pointsOf(piecesOf(database, number), mostPoints), evaluations: evaluationsOf(database, run) };
}
