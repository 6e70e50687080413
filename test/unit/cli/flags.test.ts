import { expect, test } from 'vitest';
import { commandName } from '../../../src/cli/command.ts';
import { commands } from '../../../src/cli/commands/index.ts';
import { configSchema } from '../../../src/config/index.ts';
import { fields } from '../../../src/config/schemaWalk.ts';
import { runCli } from './runCli.ts';

test('commands and flags are a promise: a change here is a change for users', () => {
  const list = commands.map((command) => {
    const words = command.positionals.map((name) => `<${name}>`);
    const flags = Object.entries(command.options).map(([flag, { field }]) => `--${flag}${field ? `=${field}` : ''}`);
    return [commandName(command), ...words, ...flags].join(' ');
  });
  expect(list).toMatchInlineSnapshot(`
    [
      "train <config> --set --trace=runtime.trace",
      "run <script> --n --host --hostfile --include --exclude --ssh-port --ssh-config --master-addr --env --log-dir --restarts --min-ranks",
      "check --n --timeout --host --hostfile --include --exclude --ssh-port --ssh-config --master-addr",
      "plan <config> --gpu-memory=memory.gpu --cpu=memory.cpu --nvme=memory.nvme.size --pcie --disk-read --disk-write --dram --tflops --ranks --per-node --node-link --network --best-mesh --largest --json --out --measure --device=device --set",
      "generate <checkpoint> --prompt=sample.prompt --tokens=sample.tokens --temperature=sample.temperature --top-k=sample.topK --top-p=sample.topP --seed=sample.seed --device=device --set",
      "checkpoint ls <run> --json",
      "checkpoint verify <checkpoint>",
      "checkpoint export <checkpoint> <folder> --dtype",
      "checkpoint prune <run> --keep-last --keep-every --yes",
      "runs ls --store",
      "runs show <run> --events --store",
      "runs compare <a> <b> --store",
      "runs export <run> --csv --json --out --store",
      "config show <config> --set",
      "doctor",
      "setup",
    ]
  `);
});

test('every flag sets a field that exists', () => {
  const known = new Set([...fields(configSchema)].map(({ path }) => path.join('.')));
  for (const command of commands) {
    for (const option of Object.values(command.options)) if (option.field) expect(known).toContain(option.field);
  }
});

test('help is printed on standard output', async () => {
  const help = await runCli(['--help'], { columns: 100 });
  expect(help).toMatchObject({ code: 0, stderr: '' });
  expect(help.stdout).toMatchInlineSnapshot(`
    "tierra <command>

    Train models that are larger than the GPU.

    Commands:
      tierra train <config>         Train a model as a configuration says
      tierra run <script>           Run a program or a configuration as several ranks, here or on
                                    several hosts
      tierra check                  Check every host before a long run: versions, devices, clocks,
                                    ports, bandwidth between ranks
      tierra plan <config>          Tell whether a model fits and how fast it would train, before
                                    anything is loaded
      tierra generate <checkpoint>  Generate text with a trained model
      tierra doctor                 Say what of libtorch, the addon and this machine works, and how to
                                    mend the rest
      tierra setup                  Find or install libtorch and build the addon
      tierra checkpoint             Look after checkpoints: ls, verify, export, prune
      tierra runs                   Look at what runs have recorded: ls, show, compare, export
      tierra config                 Print every value of a configuration and where it comes from

    Options:
      --version  Show version number                                                           [boolean]
      --help     Show help                                                                     [boolean]
    "
  `);
  expect((await runCli(['generate', '--help'], { columns: 100 })).stdout).toMatchInlineSnapshot(`
    "tierra generate <checkpoint> [options]

    Generate text with a trained model.

    Options:
      --version      Show version number                                                       [boolean]
      --help         Show help                                                                 [boolean]
      --prompt       Text to continue                                                           [string]
      --tokens       Tokens to generate                                                         [string]
      --temperature  Above 1 is bolder, 0 always takes the likeliest token                      [string]
      --top-k        Draw from the k likeliest tokens only                                      [string]
      --top-p        Draw from the likeliest tokens that together have this probability         [string]
      --seed         Seed of the draw                                                           [string]
      --device       Where to compute: auto, cpu, cuda or cuda:N                                [string]
      --set          Set a configuration value, as section.field=value; may be repeated          [array]
    "
  `);
  expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
