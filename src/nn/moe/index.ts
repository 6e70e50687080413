export { capacityOf } from './dispatch.ts';
export type { ExpertExchange, ExpertRange, RowsAtExperts } from './expertExchange.ts';
export { MoeBlock, type MoeOptions } from './moeBlock.ts';
export { Router, type RouterOptions, type Routing } from './router.ts';
