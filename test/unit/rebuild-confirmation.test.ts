import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { askToEmpty, describeEmptying } from '../../src/cli/rebuild-confirmation.ts';

const emptying = { database: 'threats', uri: 'bolt://green:7687', nodes: 400_000, records: 12_000_000 };

async function answered(...lines: readonly string[]): Promise<string> {
  const [input, output] = [new PassThrough(), new PassThrough()];
  input.end(lines.map((line) => `${line}\n`).join(''));
  await askToEmpty(emptying, input, output);
  return String(output.read());
}

it('says what goes, and for how long', () => {
  expect(describeEmptying(emptying)).toMatch(
    /^400000 nodes .* threats at bolt:.*12000000 records.*some 17 minutes/,
  );
  expect(describeEmptying({ ...emptying, nodes: 100, records: 10 })).toMatch(/some 1 seconds, if .* assumed/);
});

it('takes the name of the database for a yes, and nothing else', async () => {
  expect(await answered('threats')).toMatch(/Type the name of the database, threats/);
  expect(await answered(' threats ')).toMatch(/threats/);
  for (const lines of [[], [''], ['yes'], ['neo4j'], ['y', 'threats']])
    await expect(answered(...lines), lines.join()).rejects.toThrow(/not confirmed/);
});
