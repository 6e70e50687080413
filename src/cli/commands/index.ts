import type { Command } from '../command.ts';
import { configShowCommand } from './configShow.ts';
import { doctorCommand } from './doctor.ts';
import { generateCommand } from './generate.ts';
import { planCommand } from './plan.ts';
import { setupCommand } from './setup.ts';
import { trainCommand } from './train.ts';

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  trainCommand,
  planCommand,
  generateCommand,
  configShowCommand,
  doctorCommand,
  setupCommand,
];
