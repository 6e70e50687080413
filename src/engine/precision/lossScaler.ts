import {
  initialLossScale,
  type LossScaleSettings,
  type LossScaleState,
  moveLossScale,
  restoredLossScale,
} from './lossScale.ts';

/** The loss scale of a run: the state machine of `lossScale.ts` with its state. Runs that are not in fp16 have none. */
export class LossScaler {
  readonly #settings: LossScaleSettings;
  #state: LossScaleState;

  constructor(settings: LossScaleSettings) {
    this.#settings = settings;
    this.#state = initialLossScale(settings);
  }

  /** What the loss of the step under way, or else of the next one, is multiplied with. */
  get scale(): number {
    return this.#state.scale;
  }

  /** For checkpoints: plain JSON. */
  get state(): LossScaleState {
    return this.#state;
  }

  /** Throws `E_CHECKPOINT` for what is no saved state. */
  restore(saved: unknown): void {
    this.#state = restoredLossScale(saved, this.#settings);
  }

  /** True where a smaller scale may mend an overflow: it can still fall. */
  get canFall(): boolean {
    return this.#settings.constant === null && this.#state.scale > this.#settings.minimum;
  }

  /** Takes note of how a step ended. */
  stepEnded(overflow: boolean): void {
    this.#state = moveLossScale(this.#state, overflow ? 'overflow' : 'finite', this.#settings).state;
  }
}
