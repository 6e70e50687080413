import { MiB } from '../core/units.ts';

/** A configuration is small. These bounds keep a hostile or mistaken one from using up memory or the stack. */
export const limits = {
  fileBytes: MiB,
  /** Values after aliases are expanded. */
  values: 20_000,
  depth: 32,
} as const;
