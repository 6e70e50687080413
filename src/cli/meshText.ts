/** What stands above the plan of the best mesh. */
import { stringify } from 'yaml';
import { formatBytes, formatSeconds } from '../core/units.ts';
import { division } from '../dist/costs/index.ts';
import type { LeadingMesh, ProposedMesh } from '../engine/planMesh.ts';
import { plural, table } from './planWords.ts';

/** Whole text, ending in an empty line. */
export function meshText(proposed: ProposedMesh, ranks: number): string {
  const { best, runnersUp, reasons, tried, settings, refused } = proposed;
  const parts = [
    `The best of ${`${tried} meshes`} for ${plural(ranks, 'GPU')}:\n\n${indented(snippet(settings))}`,
    table(
      'Why',
      reasons.map((reason) => [reason]),
    ),
    table('The leaders by formulas, and as planned in full', [
      ['', 'ZeRO', 'activations', 'states', 'micro-batches', 'GPU memory', 'a step', 'as planned'],
      ...[best, ...runnersUp].map(row),
    ]),
    ...refused.map(
      ({ mesh, reason }) => `Note: ${division(mesh)} with ZeRO ${mesh.zero} is out, a full plan says: ${reason}`,
    ),
    'In full:',
  ];
  return `${parts.join('\n\n')}\n\n`;
}

function row({ mesh, memory, stepSeconds, plannedSeconds }: LeadingMesh): string[] {
  return [
    division(mesh),
    String(mesh.zero),
    mesh.recompute ? 'recomputed' : 'kept',
    mesh.statesOnHost ? 'host' : 'GPU',
    `${mesh.microBatches} of ${mesh.sequences * mesh.dp}`,
    formatBytes(memory.total),
    formatSeconds(stepSeconds),
    formatSeconds(plannedSeconds),
  ];
}

/** As it is pasted into a configuration: one line a section, sizes as people write them. */
function snippet(settings: ProposedMesh['settings']): string {
  const written = Object.entries(settings).filter(([, section]) => Object.keys(section as object).length > 0);
  return written.map(([name, section]) => `${name}: ${inline(section as Record<string, unknown>)}`).join('\n');
}

function inline(section: Record<string, unknown>): string {
  const sized = Object.fromEntries(
    Object.entries(section).map(([key, value]) => [
      key,
      key === 'gpu' || key === 'cpu' ? sizeText(Number(value)) : value,
    ]),
  );
  return stringify(sized, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

/** A size as configurations write it, rounded down. */
const sizeText = (bytes: number): string =>
  bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}GiB` : `${Math.floor(bytes / 2 ** 20)}MiB`;

const indented = (text: string): string => text.replace(/^/gm, '  ');
