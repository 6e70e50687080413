export { type ArrivalOrder, orderFromRanks } from './arrivalOrder.ts';
export { SpreadExperts } from './spreadExperts.ts';
export { expertParameters, spreadModel } from './spreadModel.ts';
