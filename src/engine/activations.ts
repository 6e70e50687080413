import type { Config } from '../config/index.ts';
import type { Unit } from '../nn/index.ts';

/** `memory.activations` is the policy of all units; some ask for another (`Unit.follow`). */
export function setActivations(units: readonly Unit[], setting: Config['memory']['activations']): void {
  const policy = setting === 'host' || setting === 'nvme' ? 'park' : setting;
  for (const unit of units) unit.follow(policy);
}
