/** Run by `probe.mjs`: `node probeChild.mjs ADDON CONTRACT`. Prints one line of JSON, or fails with one line of reason. */
import { createRequire } from 'node:module';

const [addon = '', contract = ''] = process.argv.slice(2);

function probe() {
  const binding = createRequire(import.meta.url)(addon);
  if (String(binding.contract) !== contract) {
    throw new Error(`the addon speaks contract ${binding.contract}, this version of Tierra needs ${contract}`);
  }
  binding.setErrorFactory(
    (/** @type {string} */ code, /** @type {string} */ message) => new Error(`${code}: ${message}`),
  );
  const float32 = 6;
  const [one, two] = [1, 2].map((value) =>
    binding.fromBytes(new Uint8Array(Float32Array.of(value).buffer), [1], float32),
  );
  const sum = binding.call(binding.findOperator('aten::add', 'Tensor'), one, two);
  if (binding.item(sum) !== 3) throw new Error(`libtorch says that 1 + 2 is ${binding.item(sum)}`);
  for (const tensor of [one, two, sum]) binding.release(tensor);
  return { info: binding.buildInfo, devices: binding.deviceCount() };
}

try {
  process.stdout.write(`${JSON.stringify(probe())}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
