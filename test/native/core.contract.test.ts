import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { contract } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';

const source = readFileSync(new URL('../../src/native/binding.ts', import.meta.url), 'utf8');

/** Names of an interface's own members and of those it extends, read from the contract's text. */
function membersOf(name: string): string[] {
  const found = new RegExp(`export interface ${name}(?:\\s+extends\\s+([\\w,\\s]+?))? \\{([\\s\\S]*?)\\}\\n`).exec(
    source,
  );
  if (found === null) throw new Error(`binding.ts declares no interface ${name}`);
  const own = [...found[2]!.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map((match) => match[1]!);
  const inherited = (found[1] ?? '').split(',').map((base) => base.trim());
  return [...own, ...inherited.filter((base) => base !== '').flatMap(membersOf)];
}

describe('the contract', () => {
  it('declares exactly what the addon exports', () => {
    const declared = membersOf('Binding');
    expect(declared).toContain('call');
    expect(Object.keys(native()).sort()).toEqual([...declared].sort());
  });

  it('has one number on both sides', () => {
    expect(native().contract).toBe(contract);
  });

  it('says what was built', () => {
    const info = native().buildInfo;
    expect(info.torchVersion).toMatch(/^2\.\d+/);
    expect(info.compiler).not.toBe('');
    expect(typeof info.cuda).toBe('boolean');
    expect(typeof info.uring).toBe('boolean');
    expect(typeof info.sourceHash).toBe('string');
  });
});
