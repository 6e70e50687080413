import { TierraError } from '../core/errors.ts';

/** The command line itself is wrong: exit code 2. */
export class UsageError extends TierraError {
  constructor(message: string, hint: string) {
    super('E_ARGUMENT', message, { hint });
    this.name = 'UsageError';
  }
}
