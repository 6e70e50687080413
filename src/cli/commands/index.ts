import type { Command } from '../command.ts';
import { checkCommand } from './check.ts';
import { checkpointExportCommand } from './checkpointExport.ts';
import { checkpointLsCommand } from './checkpointLs.ts';
import { checkpointPruneCommand } from './checkpointPrune.ts';
import { checkpointVerifyCommand } from './checkpointVerify.ts';
import { configShowCommand } from './configShow.ts';
import { doctorCommand } from './doctor.ts';
import { generateCommand } from './generate.ts';
import { planCommand } from './plan.ts';
import { runCommand } from './run.ts';
import { runsCompareCommand } from './runsCompare.ts';
import { runsExportCommand } from './runsExport.ts';
import { runsLsCommand } from './runsLs.ts';
import { runsShowCommand } from './runsShow.ts';
import { setupCommand } from './setup.ts';
import { trainCommand } from './train.ts';

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  trainCommand,
  runCommand,
  checkCommand,
  planCommand,
  generateCommand,
  checkpointLsCommand,
  checkpointVerifyCommand,
  checkpointExportCommand,
  checkpointPruneCommand,
  runsLsCommand,
  runsShowCommand,
  runsCompareCommand,
  runsExportCommand,
  configShowCommand,
  doctorCommand,
  setupCommand,
];

/** What the help says of a group of several commands, before their names. */
export const groups: Readonly<Record<string, string>> = {
  checkpoint: 'Look after checkpoints',
  runs: 'Look at what runs have recorded',
};
