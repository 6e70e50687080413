import { check } from '../core/errors.ts';
import type { DecodeOptions, StreamDecoder, Tokenizer } from './tokenizer.ts';

const endOfTextId = 256;
const endOfTextName = '<|endoftext|>';

/**
 * One id per byte of UTF-8 (0 to 255) and, unless `endOfText` is false, one more (256) that ends a document.
 * Files are taken byte for byte, valid UTF-8 or not.
 */
export function byteTokenizer({ endOfText = true }: { readonly endOfText?: boolean } = {}): Tokenizer {
  const encoder = new TextEncoder();
  const vocabularySize = endOfText ? 257 : 256;

  const checkId = (id: number): void =>
    check(
      Number.isInteger(id) && id >= 0 && id < vocabularySize,
      `decode: id ${id} is not in 0..${vocabularySize - 1}`,
    );

  const createDecoder = ({ skipSpecial = false }: DecodeOptions = {}): StreamDecoder => {
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    const one = new Uint8Array(1);
    return {
      push(id) {
        checkId(id);
        if (id === endOfTextId) return utf8.decode() + (skipSpecial ? '' : endOfTextName);
        one[0] = id;
        return utf8.decode(one, { stream: true });
      },
      end: () => utf8.decode(),
    };
  };

  return {
    name: 'bytes',
    vocabularySize,
    endOfText: endOfText ? endOfTextId : null,
    startOfText: null,
    fingerprint: `bytes-${vocabularySize}`,
    encode: (text) => encoder.encode(text),
    encodeBytes: (bytes) => bytes,
    decode(ids, options) {
      const decoder = createDecoder(options);
      let text = '';
      for (const id of ids) text += decoder.push(id);
      return text + decoder.end();
    },
    createDecoder,
  };
}
