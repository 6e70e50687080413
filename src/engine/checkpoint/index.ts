export { type CheckpointFileWriter, contentFile, copiedFile, type TensorEntry, tensorFiles } from './content.ts';
export { type CheckpointListing, findNewest, listCheckpoints, type NewestCheckpoint } from './find.ts';
export type { JsonValue } from './json.ts';
export { type Leftover, removeLeftovers } from './leftovers.ts';
export { type Manifest, type ManifestFields, type ManifestFile, readManifest } from './manifest.ts';
export { checkpointsFolder, currentRunId } from './names.ts';
export { type KeepPolicy, pruneCheckpoints } from './prune.ts';
export { type CheckpointState, type VerifiedCheckpoint, verifyCheckpoint } from './verify.ts';
export { type CheckpointContent, type WriteOptions, type WrittenCheckpoint, writeCheckpoint } from './write.ts';
