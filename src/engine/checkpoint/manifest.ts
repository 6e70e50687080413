import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { check, TierraError } from '../../core/errors.ts';
import { ioError } from '../../core/files.ts';
import { packageVersion } from '../../core/package.ts';
import { isPlainName } from '../../tensor/safetensors/index.ts';
import { checkJson, type JsonValue } from './json.ts';
import { upgradeManifest } from './upgrades.ts';

export const manifestName = 'manifest.json';
export const manifestFormat = 'tierra-checkpoint';

/** Everything of a run that is not a tensor. Each field is the business of its owner; here it is only kept. */
export interface ManifestFields {
  /** The resolved configuration. */
  readonly config: JsonValue;
  /** Epoch, global sample index and seed: independent of the number of ranks. */
  readonly dataPosition: JsonValue;
  /** Seeds and generator states. */
  readonly random: JsonValue;
  readonly schedule: JsonValue;
  /** The optimizer's scalars (steps taken, groups); its tensors are in `optimizer/`. */
  readonly optimizer: JsonValue;
  /** The fp16 loss scaler, or null without one. */
  readonly scaler: JsonValue;
  /** How the run stood, for people: `loss` of the step. */
  readonly metrics: JsonValue;
}

/** A file of the checkpoint: `path` relative to its folder, with forward slashes. */
export interface ManifestFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Manifest extends ManifestFields {
  readonly format: typeof manifestFormat;
  readonly version: number;
  readonly step: number;
  readonly createdBy: string;
  /** ISO 8601, UTC; null in checkpoints of version 1. */
  readonly savedAt: string | null;
  /** Processes that wrote files of it. */
  readonly writers: number;
  readonly files: readonly ManifestFile[];
}

const fieldNames = ['config', 'dataPosition', 'random', 'schedule', 'optimizer', 'scaler', 'metrics'] as const;

/** Throws `E_ARGUMENT` for a field that JSON cannot hold as it is, before anything is written. */
export function checkManifestFields(fields: ManifestFields): void {
  for (const name of fieldNames) checkJson(fields[name], `manifest.${name}`);
}

/**
 * The manifest as text. Its last member is the SHA-256 of every byte before it, so a flipped bit in a learning rate is
 * found like one in a weight. That seal is part of the format in every version.
 */
export function encodeManifest(manifest: Manifest): string {
  const body = JSON.stringify(manifest, null, 2).slice(0, -2);
  return `${body},\n  "manifestSha256": "${sha256(body)}"\n}\n`;
}

/**
 * Reads `<folder>/manifest.json`, without looking at the files it lists. Throws `E_CHECKPOINT` when there is none,
 * `E_CORRUPT` when it is torn or altered, `E_UNSUPPORTED` when a newer version of Tierra wrote it.
 */
export function readManifest(folder: string): Manifest {
  const path = join(folder, manifestName);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw ioError('read', path, error);
    throw new TierraError('E_CHECKPOINT', `${folder}: is no complete checkpoint, it has no ${manifestName}`, {
      hint: 'The manifest is written last: this save or copy did not finish. Use another checkpoint.',
      details: { path },
    });
  }
  return decodeManifest(text, path);
}

export function decodeManifest(text: string, path: string): Manifest {
  const seal = /,\n {2}"manifestSha256": "([0-9a-f]{64})"\n\}\n$/.exec(text.slice(-100));
  if (seal === null) throw damaged(path, `is torn: it has ${text.length} characters and no checksum at its end`);
  const body = text.slice(0, text.length - seal[0].length);
  const actual = sha256(body);
  if (actual !== seal[1]) throw damaged(path, `was altered: its checksum is ${actual}, it says ${seal[1]}`);
  let raw: unknown;
  try {
    raw = JSON.parse(`${body}\n}`);
  } catch (error) {
    throw damaged(path, `is not JSON: ${(error as Error).message}`);
  }
  return validate(upgradeManifest(raw, path), path);
}

function validate(raw: Record<string, unknown>, path: string): Manifest {
  const wrong = (what: string): never => {
    throw damaged(path, `${what} is missing or malformed`);
  };
  if (!Number.isSafeInteger(raw.step) || (raw.step as number) < 0) wrong('step');
  if (typeof raw.createdBy !== 'string') wrong('createdBy');
  if (raw.savedAt !== null && typeof raw.savedAt !== 'string') wrong('savedAt');
  if (!Number.isSafeInteger(raw.writers) || (raw.writers as number) < 1) wrong('writers');
  for (const name of fieldNames) if (raw[name] === undefined) wrong(name);
  if (!Array.isArray(raw.files)) return wrong('files');
  const seen = new Set<string>();
  for (const file of raw.files as (Partial<ManifestFile> | null)[]) {
    const name = file?.path;
    if (typeof name !== 'string' || !isInnerPath(name) || seen.has(name)) {
      throw damaged(path, `lists the file ${JSON.stringify(name)}, which is not a path inside the checkpoint, once`);
    }
    seen.add(name);
    if (!Number.isSafeInteger(file?.bytes) || (file?.bytes ?? -1) < 0) wrong(`the size of ${name}`);
    if (typeof file?.sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(file.sha256)) wrong(`the checksum of ${name}`);
  }
  return raw as unknown as Manifest;
}

/** True for `a/b.c`: relative, with forward slashes, every part a plain name. */
export function isInnerPath(path: string): boolean {
  return path !== manifestName && path.split('/').every(isPlainName);
}

/** `E_ARGUMENT` for a path that a caller wants in a checkpoint and that would leave it. */
export function checkInnerPath(path: string): void {
  check(isInnerPath(path), `${JSON.stringify(path)} cannot be a file of a checkpoint`, {
    hint: 'Give a path inside the checkpoint folder, such as model/config.json.',
  });
}

/** Bytes of everything that a manifest lists. */
export const manifestBytes = ({ files }: Manifest): number => files.reduce((sum, { bytes }) => sum + bytes, 0);

export const createdBy = (): string => `tierra ${packageVersion()}`;

function damaged(path: string, reason: string): TierraError {
  return new TierraError('E_CORRUPT', `${path}: ${reason}`, {
    hint: 'Use another checkpoint of the run, or restore this one from a copy.',
    details: { path },
  });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
