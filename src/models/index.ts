export * from './gpt2.ts';
export * from './head.ts';
export * from './languageModel.ts';
export * from './llama.ts';
