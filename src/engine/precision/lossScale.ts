/**
 * The scale of an fp16 loss as a state machine: pure numbers, one table of moves.
 *
 * Small gradients vanish in fp16, so the loss is multiplied before backward and the update divides again (Micikevicius et
 * al. 2018). Too large a scale shows as infinite gradients: that step updates nothing and the scale falls; after many
 * good steps it rises. Powers of two as scales change no bit of a gradient that stays in range.
 */
import { TierraError } from '../../core/errors.ts';

export interface LossScaleSettings {
  /** A scale that never changes; null for the moving one that the other fields describe. */
  readonly constant: number | null;
  readonly initial: number;
  readonly growthFactor: number;
  readonly backoffFactor: number;
  /** Good steps in a row before the scale grows. */
  readonly growthInterval: number;
  /** The overflow, counted since the scale last grew, with which backing off begins. */
  readonly hysteresis: number;
  readonly minimum: number;
  readonly maximum: number;
}

export interface LossScaleState {
  readonly scale: number;
  /** Good steps since the scale last grew or a step overflowed. */
  readonly goodSteps: number;
  /** Overflows since the scale last grew, counted up to `hysteresis`. */
  readonly overflows: number;
}

/** How a step ended: every gradient finite, or not. */
export type LossScaleEvent = 'finite' | 'overflow';

export type LossScaleMoveName = 'count' | 'grow' | 'tolerate' | 'back off' | 'stay';

interface Move {
  readonly name: LossScaleMoveName;
  readonly on: LossScaleEvent;
  readonly when: (state: LossScaleState, settings: LossScaleSettings) => boolean;
  readonly to: (state: LossScaleState, settings: LossScaleSettings) => LossScaleState;
}

const always = (): boolean => true;

/**
 * The first row that applies is taken. Only growing forgets overflows: a scale that has once backed off falls with every
 * further overflow, until `growthInterval` good steps have passed.
 */
const moves: readonly Move[] = [
  { name: 'stay', on: 'finite', when: (_, { constant }) => constant !== null, to: (state) => state },
  { name: 'stay', on: 'overflow', when: (_, { constant }) => constant !== null, to: (state) => state },
  {
    name: 'grow',
    on: 'finite',
    when: ({ goodSteps }, { growthInterval }) => goodSteps + 1 >= growthInterval,
    to: ({ scale }, { growthFactor, maximum }) => ({
      scale: Math.min(scale * growthFactor, maximum),
      goodSteps: 0,
      overflows: 0,
    }),
  },
  { name: 'count', on: 'finite', when: always, to: (state) => ({ ...state, goodSteps: state.goodSteps + 1 }) },
  {
    name: 'tolerate',
    on: 'overflow',
    when: ({ overflows }, { hysteresis }) => overflows + 1 < hysteresis,
    to: ({ scale, overflows }) => ({ scale, goodSteps: 0, overflows: overflows + 1 }),
  },
  {
    name: 'back off',
    on: 'overflow',
    when: always,
    to: ({ scale }, { backoffFactor, minimum, hysteresis }) => ({
      scale: Math.max(scale * backoffFactor, minimum),
      goodSteps: 0,
      overflows: hysteresis,
    }),
  },
];

/** Where the scale starts. */
export function initialLossScale({ constant, initial }: LossScaleSettings): LossScaleState {
  return { scale: constant ?? initial, goodSteps: 0, overflows: 0 };
}

/** The state after a step that ended with `event`, and which row of the table led there. */
export function moveLossScale(
  state: LossScaleState,
  event: LossScaleEvent,
  settings: LossScaleSettings,
): { readonly state: LossScaleState; readonly move: LossScaleMoveName } {
  const move = moves.find(({ on, when }) => on === event && when(state, settings))!;
  return { state: move.to(state, settings), move: move.name };
}

/**
 * A saved state under the settings of this run: bounds and hysteresis may have changed, and a constant scale wins. Throws
 * `E_CHECKPOINT` for what is no such state.
 */
export function restoredLossScale(saved: unknown, settings: LossScaleSettings): LossScaleState {
  const { scale, goodSteps, overflows } = (saved ?? {}) as Partial<Record<keyof LossScaleState, unknown>>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (
    typeof scale !== 'number' ||
    !(scale > 0) ||
    !Number.isFinite(scale) ||
    !isCount(goodSteps) ||
    !isCount(overflows)
  ) {
    throw new TierraError('E_CHECKPOINT', `the loss scaler's saved state is malformed: ${JSON.stringify(saved)}`, {
      hint: 'Use another checkpoint of the run.',
    });
  }
  if (settings.constant !== null) return initialLossScale(settings);
  return {
    scale: Math.min(Math.max(scale, settings.minimum), settings.maximum),
    goodSteps,
    overflows: Math.min(overflows, settings.hysteresis),
  };
}
