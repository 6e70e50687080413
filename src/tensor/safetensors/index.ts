export { dtypeBytes, isSafetensorsDtype, type SafetensorsDtype, safetensorsDtypes, tensorBytes } from './dtypes.ts';
export { isPlainName, openSafetensorsFolder } from './folder.ts';
export type { SafetensorsEntry, TensorInfo } from './header.ts';
export { openSafetensors, SafetensorsFile, type TensorSource } from './reader.ts';
export {
  defaultShardBytes,
  layOutShards,
  ShardedSafetensorsWriter,
  type ShardLayout,
  type ShardOptions,
  writeWholeFile,
} from './shardedWriter.ts';
export { SafetensorsWriter, type TensorDeclaration, type WriterOptions, type WrittenFile } from './writer.ts';
