import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { BatchSource, byteTokenizer, chatPrompt, chatTemplate, loadTokenizer } from '../../../src/data/index.ts';
import { bytes, idsOf, prepare } from './corpora.ts';
import { folderWith } from './helpers.ts';

const lines = (...values: unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join('');
const turn = (role: string, content: string) => ({ role, content });
const dialogue = [
  turn('system', 'Be kind.'),
  turn('user', 'Hi'),
  turn('assistant', 'Hello!'),
  turn('user', 'Bye'),
  turn('assistant', 'So long.'),
];

describe('JSONL', () => {
  test('each line is a document; blank lines, CRLF and a missing last line break are fine', async () => {
    const root = folderWith({ 'a.jsonl': '{"text":"one","id":1}\r\n\n{"text":"zw\\u00f6lf"}\n  \n{"text":"end"}' });
    const { train } = await prepare(root, { files: 'a.jsonl', sequenceLength: 1 });
    expect(idsOf(train)).toEqual([...bytes('one'), 256, ...bytes('zwölf'), 256, ...bytes('end'), 256]);
  });

  test('another field', async () => {
    const root = folderWith({ 'a.ndjson': lines({ body: 'abc', text: 'no' }) });
    expect(idsOf((await prepare(root, { files: 'a.ndjson', field: 'body', sequenceLength: 1 })).train)).toEqual([
      97, 98, 99, 256,
    ]);
  });

  test('lines longer than a read are put together again', async () => {
    const long = 'x'.repeat(3_000_000);
    const root = folderWith({ 'a.jsonl': lines({ text: 'a' }, { text: long }, { text: 'b' }) });
    const { train } = await prepare(root, { files: 'a.jsonl', sequenceLength: 3_000_004 });
    expect(train.sequences).toBe(1);
    const row = new Int32Array(3_000_005);
    train.read(0, row);
    expect([...row.subarray(0, 4), ...row.subarray(-4)]).toEqual([97, 256, 120, 120, 120, 256, 98, 256]);
  });

  test('a byte cap that cuts nothing keeps a last line without line break', async () => {
    const root = folderWith({ 'a.jsonl': '{"text":"abc"}' });
    const { train } = await prepare(root, { files: 'a.jsonl', sequenceLength: 1, maxBytes: 100 });
    expect(idsOf(train)).toEqual([...bytes('abc'), 256]);
  });

  test('a byte cap leaves out the line it cuts', async () => {
    const root = folderWith({ 'a.jsonl': lines({ text: 'abc' }, { text: 'def' }, { text: 'ghi' }) });
    const { train } = await prepare(root, { files: 'a.jsonl', sequenceLength: 1, maxBytes: 35 });
    expect(idsOf(train)).toEqual([...bytes('abc'), 256, ...bytes('def'), 256]);
  });

  test('bytes that are not UTF-8 become U+FFFD, and that is said', async () => {
    const root = folderWith({
      'a.jsonl': Buffer.concat([Buffer.from('{"text":"a'), Buffer.of(0xff), Buffer.from('b"}\n')]),
    });
    const { train, notes } = await prepare(root, { files: 'a.jsonl', sequenceLength: 1 });
    expect(idsOf(train)).toEqual([...bytes('a\uFFFDb'), 256]);
    expect(notes).toContain('bytes that are not UTF-8 in 1 files became U+FFFD');
  });

  test.each<[string, string, string, RegExp]>([
    ['not JSON', '{"text":"ok"}\n{"text": oops}\n', 'FILE:2: not JSON (', /one complete JSON object on every line/],
    ['an array', '[1,2]\n', 'FILE:1: expected a JSON object, found an array', /one complete JSON object/],
    ['a string', '\n"text"\n', 'FILE:2: expected a JSON object, found a string', /one complete JSON object/],
    ['cut off', '{"text":"ok"}\n{"text":"o', 'FILE:2: not JSON (', /one complete JSON object/],
    ['no such field', '{"body":"x","id":1}\n', 'FILE:1: no field "text" (fields: body, id)', /Name the field/],
    [
      'a field of another type',
      '{"text":7}\n',
      'FILE:1: the field "text" is not a string (fields: text)',
      /Name the field/,
    ],
    ['conversations', '{"messages":[]}\n', 'FILE:1: no field "text" (fields: messages)', /choose a chat template/],
  ])('%s', async (_, content, message, hint) => {
    const root = folderWith({ 'a.jsonl': content });
    const prepared = prepare(root, { files: 'a.jsonl', sequenceLength: 1 });
    const start = message.replace('FILE', path.join(root, 'a.jsonl'));
    await expect(prepared).rejects.toMatchObject({ code: 'E_DATA', hint: expect.stringMatching(hint) });
    await expect(prepared).rejects.toThrow(start);
  });
});

describe('chat templates', () => {
  const render = (name: string) => chatTemplate(name)(dialogue as never);
  const text = (name: string): string =>
    render(name)
      .map((segment) => segment.text)
      .join('');
  const trained = (name: string): string[] =>
    render(name)
      .filter((segment) => segment.trained)
      .map((segment) => segment.text);

  test('chatml', () => {
    expect(text('chatml')).toBe(
      '<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
        '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long.<|im_end|>\n',
    );
    expect(trained('chatml')).toEqual(['Hello!<|im_end|>', 'So long.<|im_end|>']);
  });

  test('llama3', () => {
    expect(text('llama3')).toBe(
      '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSo long.<|eot_id|>',
    );
    expect(trained('llama3')).toEqual(['Hello!<|eot_id|>', 'So long.<|eot_id|>']);
  });

  test('plain', () => {
    expect(text('plain')).toBe('System: Be kind.\nUser: Hi\nAssistant: Hello!\nUser: Bye\nAssistant: So long.\n');
    expect(trained('plain')).toEqual([' Hello!\n', ' So long.\n']);
  });

  test('a prompt is the conversation up to where the assistant begins', () => {
    for (const name of ['chatml', 'llama3', 'plain']) {
      const prompt = chatPrompt(name, dialogue.slice(0, 4) as never);
      expect(text(name).startsWith(prompt)).toBe(true);
      expect(text(name).slice(prompt.length)).toBe(trained(name)[1]! + (name === 'chatml' ? '\n' : ''));
    }
  });

  test('an unknown one is refused, naming the nearest', () => {
    expect(() => chatTemplate('chatlm')).toThrow('chat template "chatlm" is not known');
    expect(() => chatTemplate('toString')).toThrow('chat template "toString" is not known');
    try {
      chatTemplate('lama3');
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_DATA', hint: 'Did you mean llama3? Templates: chatml, llama3, plain.' });
    }
  });
});

describe('chat data', () => {
  test('only the assistant turns are labels, and every one of them is', async () => {
    const root = folderWith({ 'a.jsonl': lines({ messages: dialogue }, { messages: dialogue.slice(1, 3) }) });
    const { train } = await prepare(root, { files: 'a.jsonl', template: 'plain', sequenceLength: 10 });
    const whole =
      'System: Be kind.\nUser: Hi\nAssistant: Hello!\nUser: Bye\nAssistant: So long.\n\0User: Hi\nAssistant: Hello!\n\0';
    const batch = new BatchSource(train, { batchSize: train.sequences, shuffle: false }).next();
    const labels = Array.from(batch.labels, Number);
    const shown = labels.map((label) => (label === -100 ? '.' : String.fromCharCode(label))).join('');
    const expected = whole.replace(/(Assistant:)( [^\n]*\n)|[\s\S]/g, (all, header?: string, answer?: string) =>
      answer === undefined ? '.'.repeat(all.length) : '.'.repeat(header!.length) + answer,
    );
    expect(shown).toBe(expected.slice(1, 1 + labels.length));
    expect(batch.countedLabels).toBe(labels.filter((label) => label !== -100).length);
    expect(batch.countedLabels).toBeGreaterThan(20);
  });

  test('the mask is the same over shards of any size', async () => {
    const root = folderWith({ 'a.jsonl': lines({ messages: dialogue }, { messages: dialogue }) });
    const read = async (shardTokens: number) => {
      const { train } = await prepare(root, { files: 'a.jsonl', template: 'chatml', sequenceLength: 7, shardTokens });
      return new BatchSource(train, { batchSize: train.sequences, shuffle: false }).next().labels;
    };
    expect(await read(5)).toEqual(await read(2 ** 28));
  });

  test('goes through any tokenizer, segment by segment', async () => {
    const tokenizer = await loadTokenizer(
      fileURLToPath(new URL('../../goldens/tokenizer-byte-level.json', import.meta.url)),
    );
    const root = folderWith({
      'a.jsonl': lines({ messages: [turn('user', 'The boats'), turn('assistant', 'came in.')] }),
    });
    const { train } = await prepare(root, { files: 'a.jsonl', template: 'plain', sequenceLength: 1, tokenizer });
    expect(tokenizer.decode(idsOf(train))).toBe('User: The boats\nAssistant: came in.\n<|endoftext|>');
  });

  test('conversations without an assistant turn are counted', async () => {
    const root = folderWith({ 'a.jsonl': lines({ messages: [turn('user', 'anyone?')] }) });
    const { notes } = await prepare(root, { files: 'a.jsonl', template: 'plain', sequenceLength: 4 });
    expect(notes).toContain('1 conversations have no assistant turn, so nothing in them is trained');
  });

  test.each<[string, unknown, string]>([
    ['no messages', { text: 'x' }, 'FILE:1: no "messages" array (fields: text)'],
    ['messages of another type', { messages: 'x' }, 'FILE:1: no "messages" array (fields: messages)'],
    ['none in it', { messages: [] }, 'FILE:1: the "messages" array is empty'],
    ['a message that is none', { messages: ['x'] }, 'FILE:1: messages[0] is not an object'],
    ['no role', { messages: [{ content: 'x' }] }, 'FILE:1: messages[0] has no role'],
    [
      'an unknown role',
      { messages: [turn('gpt', 'x')] },
      'FILE:1: messages[0] has the role "gpt", expected one of system, user, assistant, tool',
    ],
    [
      'no content',
      { messages: [turn('user', 'x'), { role: 'assistant' }] },
      'FILE:1: messages[1] (assistant) has no content',
    ],
    [
      'content of another type',
      { messages: [{ role: 'user', content: [1] }] },
      'FILE:1: messages[0] (user) has content that is not a string',
    ],
  ])('%s', async (_, value, message) => {
    const root = folderWith({ 'a.jsonl': lines(value) });
    await expect(prepare(root, { files: 'a.jsonl', template: 'chatml' })).rejects.toMatchObject({
      code: 'E_DATA',
      message: message.replace('FILE', path.join(root, 'a.jsonl')),
      hint: expect.stringContaining('{"messages":['),
    });
  });

  test('asks for a template', async () => {
    const root = folderWith({ 'a.jsonl': lines({ messages: dialogue }) });
    await expect(prepare(root, { files: 'a.jsonl', format: 'chat' })).rejects.toThrow('chat data need a template');
  });
});

describe('text through a tokenizer', () => {
  test('gives its ids, end-of-text between files', async () => {
    const tokenizer = await loadTokenizer(
      fileURLToPath(new URL('../../goldens/tokenizer-byte-level.json', import.meta.url)),
    );
    const root = folderWith({ 'a.txt': 'The boats came in.', 'b.txt': '\uFEFFGröße' });
    const { train } = await prepare(root, { tokenizer, sequenceLength: 1 });
    const of = (text: string) => Array.from(tokenizer.encode(text));
    expect(idsOf(train)).toEqual([...of('The boats came in.'), 0, ...of('Größe'), 0]);
    expect(train.vocabularySize).toBe(tokenizer.vocabularySize);
  });

  test('bytes that are not UTF-8 become U+FFFD, and that is said', async () => {
    const tokenizer = await loadTokenizer(
      fileURLToPath(new URL('../../goldens/tokenizer-byte-level.json', import.meta.url)),
    );
    const root = folderWith({ 'a.txt': Buffer.concat([Buffer.from('caf'), Buffer.of(0xe9), Buffer.from(' x')]) });
    const { train, notes } = await prepare(root, { tokenizer, sequenceLength: 1 });
    expect(tokenizer.decode(idsOf(train))).toBe('caf\uFFFD x<|endoftext|>');
    expect(notes).toContain('bytes that are not UTF-8 in 1 files became U+FFFD');
  });

  test('a byte cap inside a character leaves it out', async () => {
    const tokenizer = await loadTokenizer(
      fileURLToPath(new URL('../../goldens/tokenizer-byte-level.json', import.meta.url)),
    );
    const root = folderWith({ 'a.txt': 'x😀é港' });
    const texts = [];
    for (let maxBytes = 2; maxBytes <= 10; maxBytes++) {
      const { train, notes } = await prepare(root, { tokenizer, sequenceLength: 1, maxBytes });
      texts.push(tokenizer.decode(idsOf(train), { skipSpecial: true }));
      expect(notes.filter((note) => note.includes('U+FFFD'))).toEqual([]);
    }
    expect(texts).toEqual(['x', 'x', 'x', 'x😀', 'x😀', 'x😀é', 'x😀é', 'x😀é', 'x😀é港']);
  });

  test('a separator that the vocabulary lacks is refused when asked for', async () => {
    const root = folderWith({ 'a.txt': 'abcdefgh' });
    await expect(
      prepare(root, { tokenizer: byteTokenizer({ endOfText: false }), separator: 'endOfText' }),
    ).rejects.toThrow('separator endOfText: the tokenizer bytes has no such id');
  });
});
