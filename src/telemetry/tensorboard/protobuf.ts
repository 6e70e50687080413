/** Fields of a protocol buffer message (https://protobuf.dev/programming-guides/encoding). */
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  // By division: steps go beyond 32 bits.
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

const tag = (field: number, type: number): Buffer => varint(field * 8 + type);

/** Of a number from 0 to 2^53. */
export const varintField = (field: number, value: number): Buffer =>
  Buffer.concat([tag(field, wire.varint), varint(value)]);

export function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([tag(field, wire.fixed64), bytes]);
}

export function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([tag(field, wire.fixed32), bytes]);
}

/** A string, or a message of its own. */
export function bytesField(field: number, value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([tag(field, wire.bytes), varint(bytes.length), bytes]);
}
