export { configMarkdown } from './docs.ts';
export { isByteField } from './fieldKinds.ts';
export { loadConfig, loadConfigWithOrigins } from './load.ts';
export type { Origin } from './origins.ts';
export { type Override, type OverrideInput, parseValue } from './overrides.ts';
export { type Config, type ResolvedConfig, resolveConfig } from './resolve.ts';
export { type ConfigInput, configSchema, type DeviceName } from './schema/index.ts';
