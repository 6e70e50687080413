/**
 * The one error family. A message says what was attempted, with which numbers and where; `hint` says what to do next.
 * Code tests `code`, never the message.
 */
export type ErrorCode =
  | 'E_ARGUMENT' // a caller passed something the function cannot take
  | 'E_CONFIG' // a configuration value is missing, unknown or out of range
  | 'E_STATE' // an object is not in the state the call needs (disposed, illegal transition)
  | 'E_NATIVE_MISSING' // the addon is not built, or was built for another contract
  | 'E_OPERATOR' // libtorch does not know the operator or refused its arguments
  | 'E_OUT_OF_MEMORY' // a tier's budget, or the machine, cannot give the bytes asked for
  | 'E_IO' // a file or disk operation failed
  | 'E_CORRUPT' // bytes are not what they claim to be
  | 'E_UNSUPPORTED' // this machine, build or file format cannot do it
  | 'E_DATA' // training data is missing, empty or malformed
  | 'E_CHECKPOINT' // a checkpoint is missing, incomplete or of another model
  | 'E_PLAN' // no schedule fits the budgets
  | 'E_LAUNCH' // ranks cannot be started, or what their launcher says is incomplete or contradictory
  | 'E_PEER' // another rank died, hangs or does not agree with this one
  | 'E_NUMERICS' // training met infinite or NaN numbers and is to go no further
  | 'E_COLLECTIVE' // ranks could not communicate: one ended, hangs, or does something else
  | 'E_INTERRUPTED' // stopped on request
  | 'E_INTERNAL'; // a broken invariant of our own

export interface ErrorFields {
  /** What to do next, in one or two sentences. */
  readonly hint?: string;
  /** The numbers and names behind the message, for programs. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

export class TierraError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, fields: ErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = 'TierraError';
    this.code = code;
    this.hint = fields.hint;
    this.details = fields.details ?? {};
  }
}

/** Throws `E_ARGUMENT` when `condition` is false. */
export function check(condition: boolean, message: string, fields?: ErrorFields): asserts condition {
  if (!condition) throw new TierraError('E_ARGUMENT', message, fields);
}

/** Throws `E_INTERNAL`: an invariant of our own does not hold. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new TierraError('E_INTERNAL', `${message} (this is a defect in Tierra, please report it)`);
}

/** True for any error of the family, optionally of one code. */
export function isTierraError(error: unknown, code?: ErrorCode): error is TierraError {
  return error instanceof TierraError && (code === undefined || error.code === code);
}

/** The error as a person should see it: message, then the hint on a line of its own. */
export function formatError(error: unknown): string {
  if (!(error instanceof TierraError)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  return error.hint === undefined ? error.message : `${error.message}\n  ${error.hint}`;
}
