/** Errors of a step in the model's words. */
import { TierraError } from '../../core/errors.ts';
import type { PlannedMoment } from '../../memory/index.ts';
import type { Pass, Unit } from '../../nn/index.ts';
import { Departure } from '../store.ts';
import type { ModelMap } from './stepTrace.ts';

/** The error with the parameters of the chunk that it speaks of. */
export function explained(error: unknown, { layout, parameters }: ModelMap): TierraError {
  if (!(error instanceof TierraError)) throw error;
  const { chunk, parameters: known } = error.details;
  const placed = typeof chunk === 'number' ? layout.chunks[chunk]?.parameters : undefined;
  if (placed === undefined || known !== undefined) return error;
  const names = placed.map(({ id }) => parameters[id]!.name);
  const more = names.length > 2 ? ` and ${names.length - 2} more` : '';
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  return new TierraError(error.code, `${error.message}; chunk ${chunk} holds ${names.slice(0, 2).join(', ')}${more}`, {
    ...hint,
    details: { ...error.details, parameters: names },
    cause: error,
  });
}

export function departure(unit: Unit, pass: Pass, moment: PlannedMoment, map: ModelMap): Departure {
  const expected = moment.unit < 0 ? moment.pass : `${moment.pass} of ${map.units[moment.unit]!.name}`;
  return new Departure(`${pass} of ${unit.name} where ${expected} was expected`, pass);
}
