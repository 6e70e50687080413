import { TierraError } from '../../core/errors.ts';

type RawManifest = Record<string, unknown>;
/** Turns a manifest of one version into the next one's. */
export type ManifestUpgrade = (manifest: RawManifest) => RawManifest;

/** The version this code writes. */
export const manifestVersion = 2;

/** `upgrades[n]` leads from version n to n + 1. */
const upgrades: Readonly<Record<number, ManifestUpgrade>> = {
  // Version 2 says when it was saved, how the run stood, and how many processes wrote it.
  1: (manifest) => ({ ...manifest, savedAt: null, metrics: {}, writers: 1 }),
};

/**
 * Brings a parsed manifest to the current version, one step at a time. Throws `E_UNSUPPORTED` for a version from the
 * future or one whose upgrade is gone, `E_CORRUPT` for what is not a manifest of ours.
 */
export function upgradeManifest(
  raw: unknown,
  path: string,
  table: Readonly<Record<number, ManifestUpgrade>> = upgrades,
  current: number = manifestVersion,
): RawManifest {
  let manifest = raw as RawManifest;
  if (typeof raw !== 'object' || raw === null || manifest.format !== 'tierra-checkpoint') {
    throw new TierraError('E_CORRUPT', `${path}: is not the manifest of a Tierra checkpoint`, {
      hint: 'Plain Hugging Face folders are loaded as models, not resumed as checkpoints.',
    });
  }
  const version = manifest.version;
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) {
    throw new TierraError('E_CORRUPT', `${path}: its version is ${JSON.stringify(version)}, not a count from 1`, {
      hint: 'Use another checkpoint of the run, or restore this one from a copy.',
    });
  }
  if (version > current) {
    const by = typeof manifest.createdBy === 'string' ? ` by ${manifest.createdBy}` : '';
    throw new TierraError('E_UNSUPPORTED', `${path}: written${by} in format version ${version}; this is ${current}`, {
      hint: 'Resume it with the version of Tierra that wrote it, or a newer one.',
      details: { version, current },
    });
  }
  for (let from = version; from < current; from++) {
    const upgrade = table[from];
    if (upgrade === undefined) {
      throw new TierraError('E_UNSUPPORTED', `${path}: format version ${version} can no longer be read`, {
        hint: `Load and save it once with a version of Tierra that still reads format ${version}.`,
        details: { version, current, missing: from },
      });
    }
    manifest = { ...upgrade(manifest), version: from + 1 };
  }
  return manifest;
}
