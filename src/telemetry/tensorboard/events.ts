/**
 * TensorBoard's event files: records of a length, its checksum, an `Event` message and its checksum. Field numbers are those of
 * tensorflow/core/util/event.proto, framework/summary.proto and framework/tensor.proto.
 */
import { maskedCrc32c } from './crc32c.ts';
import { bytesField, doubleField, floatField, varintField } from './protobuf.ts';

export interface ScalarEvent {
  readonly seconds: number;
  readonly step: number;
  readonly values: readonly { readonly tag: string; readonly value: number }[];
}

/** What every file begins with. */
export const versionEvent = (seconds: number): Buffer =>
  record(Buffer.concat([doubleField(1, seconds), bytesField(3, 'brain.Event:2')]));

export function scalarEvent({ seconds, step, values }: ScalarEvent): Buffer {
  const summary = values.map(({ tag, value }) =>
    bytesField(1, Buffer.concat([bytesField(1, tag), floatField(2, value)])),
  );
  return event(seconds, step, Buffer.concat(summary));
}

/** Markdown, shown under Text. */
export function textEvent(seconds: number, step: number, tag: string, text: string): Buffer {
  const dtString = 7;
  // An empty shape: a scalar.
  const tensor = Buffer.concat([varintField(1, dtString), bytesField(2, ''), bytesField(8, text)]);
  const metadata = bytesField(1, bytesField(1, 'text'));
  return event(
    seconds,
    step,
    bytesField(1, Buffer.concat([bytesField(1, tag), bytesField(8, tensor), bytesField(9, metadata)])),
  );
}

const event = (seconds: number, step: number, summary: Buffer): Buffer =>
  record(Buffer.concat([doubleField(1, seconds), varintField(2, step), bytesField(5, summary)]));

function record(data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(maskedCrc32c(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc32c(data));
  return Buffer.concat([head, data, tail]);
}
