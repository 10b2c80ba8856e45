/** What a look at the publication does with what it finds, and what is recorded of it. */
import { describe, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { columnEntry, type Published } from '../../src/core/source-identity.ts';
import { createPublicationWatch } from '../../src/pipelines/publish/watch-publication.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping } = testMapping('unit');
const ENTITY = 'public.entity';
const TYPE = columnEntry(ENTITY, 'type', false);
const as = (version: number, file: number): Published => ({
  publication: '740',
  [ENTITY]: '16390/all/16401',
  [TYPE]: `2/text/${version}/${file}`,
});

/** `catalogue`: how it is at each look; `name`: what the table with the entities' oid is called. */
function watch(catalogue: Published[], name: string | null = ENTITY) {
  const rows = (published: Published) =>
    Object.entries(published).map(([name, published]) => ({ name, published }));
  const answer = (text: string): object[] => {
    if (text.includes('pg_publication')) return rows(catalogue.shift() ?? {});
    return name === null ? [] : [{ name }];
  };
  const sql = { query: <Row>(text: string) => Promise.resolve(answer(text) as Row[]) };
  return createPublicationWatch(sql, mapping, new Map([[16390, { table: ENTITY }]]), as(1, 1));
}

describe('a look at the publication', () => {
  it('goes on from what it has seen: a file and a description that change one after the other are no rewriting', async () => {
    const { look, seen } = watch([as(1, 2), as(2, 2), as(3, 3)]);
    await look();
    await look();
    expect(seen()).toEqual(as(2, 2));
    await expect(look()).rejects.toSatisfy((error) => isAppError(error, 'TABLE_REWRITTEN'));
    // So that the next session finds it, too.
    expect(seen()).toEqual(as(2, 2));
  });

  it.each<[string, string | null, string]>([
    ['that is called otherwise is to have its name back', 'public.entity_v1', 'POSTGRES_SCHEMA'],
    ['that is gone is a gap', null, 'SOURCE_CHANGED'],
    ['that had another name for a moment is as it was', ENTITY, 'nothing'],
  ])('a table %s', async (_, name, code) => {
    const { look, seen } = watch([{ ...as(1, 1), [ENTITY]: 'absent' }], name);
    const found = await look().then(
      () => 'nothing',
      (error: unknown) => (isAppError(error) ? error.code : error),
    );
    expect(found).toBe(code);
    expect(seen()).toEqual(as(1, 1));
  });
});
