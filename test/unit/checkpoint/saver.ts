/** A process of its own that saves one checkpoint: `saver.ts <output> <step> <keepLast>`. Killed by the tests. */
import { join } from 'node:path';
import { writeCheckpoint } from '../../../src/engine/checkpoint/index.ts';
import { sampleContent } from './content.ts';

const [output, step, keepLast] = process.argv.slice(2);
const content = sampleContent(Number(step), join(output!, 'tokenizer.json'));
await writeCheckpoint(output!, Number(step), content, { keepLast: Number(keepLast) });
