import { KiB } from '../core/units.ts';

/** A configuration is small. These bounds keep a hostile or mistaken one from using up memory or the stack. */
export const limits = {
  fileBytes: 256 * KiB,
  /** Values after aliases are expanded. */
  values: 20_000,
  depth: 32,
  /** Problems that one error tells; the rest are counted. */
  problems: 50,
} as const;
