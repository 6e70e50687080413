import type { Option } from './command.ts';

/** Flags that several commands share. */
export const setOption: Option = {
  describe: 'Set a configuration value, as section.field=value; may be repeated',
  many: true,
};

export const deviceOption: Option = {
  describe: 'Where to compute: auto, cpu, cuda or cuda:N',
  field: 'device',
  text: true,
};
