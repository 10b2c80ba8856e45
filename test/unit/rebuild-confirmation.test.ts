import { expect, it } from 'vitest';
import { describeEmptying } from '../../src/cli/rebuild-confirmation.ts';

const emptying = { database: 'threats', uri: 'bolt://green:7687', nodes: 400_000, records: 12_000_000 };

it('says what goes, and for how long', () => {
  expect(describeEmptying(emptying)).toMatch(
    /^400000 nodes .* threats at bolt:.*12000000 records.*some 17 minutes/,
  );
  expect(describeEmptying({ ...emptying, nodes: 100, records: 10 })).toMatch(/some 1 seconds, if .* assumed/);
});
