import { TierraError } from '../../core/errors.ts';
import type { FeatureCut } from '../../nn/index.ts';

/** Throws `E_CONFIG` where `parts` ranks would not have whole heads, or equally many features, of each section. `over` names the ranks. */
export function requireUnits(
  features: number,
  { unit = 1, sections = 1 }: FeatureCut,
  parts: number,
  over: string,
): void {
  const section = features / sections;
  const units = section / unit;
  if (Number.isInteger(units / parts)) return;
  const what = unit === 1 ? `${section} features` : `${units} heads of ${unit} features`;
  throw new TierraError('E_CONFIG', `${what} cannot be cut over ${over}: ${units} / ${parts} is not whole`, {
    hint: 'Take a tp that divides the heads (key/value heads too) and the hidden widths.',
    details: { features, sections, unit, parts },
  });
}
