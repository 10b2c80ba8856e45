import { expect, it } from 'vitest';
import type { Sql } from '../../src/postgres/client.ts';
import { createSlot } from '../../src/postgres/slot.ts';

/** A server of that version that has the functions of its version only. */
function server(version: number): Sql & { readonly made: string[] } {
  const made: string[] = [];
  return {
    made,
    query: <Row extends object>(text: string) => {
      const asksVersion = text.includes('server_version_num');
      if (!asksVersion) made.push(text);
      return Promise.resolve([asksVersion ? { version } : { lsn: '0/10' }] as unknown as Row[]);
    },
  };
}

it.each([
  [150_004, false],
  [160_010, false],
  [170_000, true],
  [180_004, true],
])('a slot made by PostgreSQL %i is one for failover: %s', async (version, failover) => {
  const sql = server(version);
  expect(await createSlot(sql, 'eiq_graph')).toBe(0x10n);
  expect(sql.made).toEqual([expect.stringContaining(`'pgoutput'${failover ? ', failover => true' : ''})`)]);
});
