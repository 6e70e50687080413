/** The program that a launcher starts on each host. */
import { packageVersion } from '../../core/package.ts';
import { runAgent } from './agent.ts';

runAgent(packageVersion());
