/**
 * A mesh: the world's ranks along named axes. Order, outermost first: dp, pp, sp, ep, tp. So a tensor-parallel group is
 * contiguous ranks (one node, if it fits), the pipeline comes next, and data parallelism is outermost. Groups are made along one
 * axis or several; ranks that differ only in those axes are in one group.
 */
import { check, TierraError } from '../core/errors.ts';
import type { Communicator } from './communicator.ts';
import type { Group } from './group.ts';

/** Outermost first. */
export const axes = ['dp', 'pp', 'sp', 'ep', 'tp'] as const;
export type Axis = (typeof axes)[number];

export type Degrees = Readonly<Partial<Record<Axis, number>>>;
export type Coordinate = Readonly<Record<Axis, number>>;

/** Pure: which rank is where. */
export class MeshLayout {
  readonly degrees: Readonly<Record<Axis, number>>;
  readonly size: number;

  /**
   * @param worldSize ranks there are
   * @param degrees of each axis; 1 where unset. `dp` unset takes what the others leave.
   */
  constructor(worldSize: number, degrees: Degrees = {}) {
    for (const axis of axes) {
      const degree = degrees[axis];
      if (degree !== undefined && (!Number.isInteger(degree) || degree < 1)) {
        throw new TierraError(
          'E_CONFIG',
          `the degree of ${axis} is ${degree}, it must be a whole number of at least 1`,
        );
      }
    }
    const inner = axes.filter((axis) => axis !== 'dp').reduce((product, axis) => product * (degrees[axis] ?? 1), 1);
    const dp = degrees.dp ?? worldSize / inner;
    if (!Number.isInteger(dp) || dp * inner !== worldSize) throw wrongProduct(worldSize, degrees);
    this.degrees = { dp, pp: degrees.pp ?? 1, sp: degrees.sp ?? 1, ep: degrees.ep ?? 1, tp: degrees.tp ?? 1 };
    this.size = worldSize;
  }

  /** How far apart in ranks neighbours along `axis` are. */
  stride(axis: Axis): number {
    return axes.slice(axes.indexOf(axis) + 1).reduce((product, inner) => product * this.degrees[inner], 1);
  }

  coordinate(rank: number): Coordinate {
    check(Number.isInteger(rank) && rank >= 0 && rank < this.size, `rank ${rank} is not in a mesh of ${this.size}`);
    const along = (axis: Axis): number => Math.floor(rank / this.stride(axis)) % this.degrees[axis];
    return { dp: along('dp'), pp: along('pp'), sp: along('sp'), ep: along('ep'), tp: along('tp') };
  }

  /** The rank at a coordinate; axes left out are 0. */
  rankAt(coordinate: Partial<Coordinate>): number {
    return axes.reduce((rank, axis) => {
      const at = coordinate[axis] ?? 0;
      check(
        at >= 0 && at < this.degrees[axis],
        `${axis} ${at} is outside of a mesh with ${axis} ${this.degrees[axis]}`,
      );
      return rank + at * this.stride(axis);
    }, 0);
  }

  /** All groups along `along`, in rank order inside and among each other: together they hold every rank once. */
  partition(along: readonly Axis[]): number[][] {
    const groups = new Map<string, number[]>();
    for (let rank = 0; rank < this.size; rank++) {
      const at = this.coordinate(rank);
      const key = axes
        .filter((axis) => !along.includes(axis))
        .map((axis) => at[axis])
        .join();
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [rank]);
      else group.push(rank);
    }
    return [...groups.values()];
  }

  /** `dp 2 x tp 4`: the degrees above 1; `one rank` if there is none. */
  describe(): string {
    const parts = axes.filter((axis) => this.degrees[axis] > 1).map((axis) => `${axis} ${this.degrees[axis]}`);
    return parts.length === 0 ? 'one rank' : parts.join(' x ');
  }
}

function wrongProduct(worldSize: number, degrees: Degrees): TierraError {
  const named = axes.filter((axis) => degrees[axis] !== undefined);
  const equation = named.map((axis) => `${axis} ${degrees[axis]}`).join(' x ');
  const product = named.reduce((all, axis) => all * degrees[axis]!, 1);
  const [message, hint] =
    degrees.dp === undefined
      ? [
          `${equation} = ${product} does not divide the world's ${worldSize} ranks`,
          'dp takes what the other degrees leave.',
        ]
      : [
          `${equation} = ${product}, but the world has ${worldSize} ranks`,
          'The product of all degrees is the number of ranks; leave dp out and it takes what the others leave.',
        ];
  return new TierraError('E_CONFIG', message, { hint, details: { worldSize, product, ...degrees } });
}

/** A mesh whose groups this rank is in; made lazily, so ask for them on all ranks in the same order. */
export interface Mesh {
  readonly layout: MeshLayout;
  readonly communicator: Communicator;
  readonly coordinate: Coordinate;
  /**
   * This rank's group along one axis, or several taken together (`['dp', 'sp']`). The same one when asked again; axes of degree 1 change
   * nothing.
   */
  group(...along: readonly Axis[]): Group;
}

/** `E_CONFIG` with the equation when the degrees do not multiply to the world's size. */
export function makeMesh(communicator: Communicator, degrees: Degrees): Mesh {
  const layout = new MeshLayout(communicator.world.size, degrees);
  const made = new Map<string, Group>();
  return {
    layout,
    communicator,
    coordinate: layout.coordinate(communicator.world.rank),
    group(...along) {
      const name = axes.filter((axis) => along.includes(axis) && layout.degrees[axis] > 1).join('+') || 'self';
      const known = made.get(name);
      if (known !== undefined) return known;
      const group = communicator.split(name, layout.partition(along))!;
      made.set(name, group);
      return group;
    },
  };
}
