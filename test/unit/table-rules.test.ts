import { describe, expect, it } from 'vitest';
import type { Relation } from '../../src/core/change.ts';
import { isAppError } from '../../src/core/errors.ts';
import type { PartitionFacts } from '../../src/postgres/partition-rules.ts';
import {
  type PublicationFacts,
  type TableFacts,
  type TableSpec,
  checkRelation,
  publicationProblems,
  tableProblems,
} from '../../src/postgres/table-rules.ts';

const spec: TableSpec = {
  schema: 'public',
  name: 'entity',
  key: [{ name: 'id', kind: 'uuid' }],
  columns: new Map([
    ['id', 'uuid'],
    ['data', 'json'],
    ['at', 'timestamp'],
  ]),
};
const column = (name: string, typeOid: number, type: string, toastable = false) => ({
  name,
  typeOid,
  type,
  notNull: true,
  toastable,
});
type Found = NonNullable<TableFacts['found']>;
const sound: Found = {
  kind: 'r',
  unlogged: false,
  inherited: false,
  partitions: [],
  replicaIdentity: 'f',
  identityColumns: [],
  columns: [
    column('id', 2950, 'uuid'),
    column('data', 3802, 'jsonb', true),
    column('at', 1184, 'timestamp with time zone'),
    column('note', 25, 'text', true),
  ],
  uniqueKeys: [['id']],
  orders: [[{ column: 'id', bytes: false }]],
  selectable: true,
  rowSecurity: false,
  published: { listed: true, columns: ['id', 'data', 'at', 'note'], filtered: false },
};
const publication: PublicationFacts = {
  name: 'eiq_graph',
  found: { operations: { insert: true, update: true, delete: true, truncate: true }, viaRoot: true },
};

function problems(found: Partial<Found> | null, of: Partial<TableSpec> = {}, from = publication): string[] {
  const facts: TableFacts = {
    schema: 'public',
    name: 'entity',
    found: found === null ? null : { ...sound, ...found },
  };
  return tableProblems(facts, { ...spec, ...of }, from).map(({ code, message }) => `${code} ${message}`);
}

describe('rules for mapped tables', () => {
  it('finds nothing wrong with a sound table', () => {
    expect(problems({})).toEqual([]);
  });

  it.each<[string, Partial<Found> | null, RegExp]>([
    ['no table', null, /POSTGRES_SCHEMA .*public\.entity does not exist/],
    ['a view', { kind: 'v' }, /POSTGRES_SCHEMA .*not a table/],
    ['an unlogged table', { unlogged: true }, /POSTGRES_SCHEMA .*alter table "public"\."entity" set logged;/],
    ['a table with children', { inherited: true }, /POSTGRES_SCHEMA .*child tables \(inherits\)/],
    ['no right to read', { selectable: false }, /POSTGRES_PRIVILEGE .*grant select on "public"\."entity"/],
    ['row security', { rowSecurity: true }, /POSTGRES_PRIVILEGE .*BYPASSRLS/],
    ['a missing column', { columns: sound.columns.filter((c) => c.name !== 'at') }, /has no column at\./],
    [
      'a column of another type',
      {
        columns: sound.columns.map((c) =>
          c.name === 'at' ? column('at', 1114, 'timestamp without time zone') : c,
        ),
      },
      /Column at of public\.entity is timestamp without time zone; its mapping needs timestamp with time zone/,
    ],
    [
      'no unique index',
      { uniqueKeys: [['data'], ['id', 'at']] },
      /create unique index on "public"\."entity" \("id"\);/,
    ],
    [
      'a key that may be null',
      { columns: sound.columns.map((c) => (c.name === 'id' ? { ...c, notNull: false } : c)) },
      /alter column "id" set not null;/,
    ],
    [
      'large values without their old row',
      { replicaIdentity: 'd', identityColumns: ['id'] },
      /POSTGRES_REPLICA_IDENTITY .*of data in .*alter table "public"\."entity" replica identity full;/,
    ],
    [
      'a table that is not published',
      { published: null },
      /alter publication "eiq_graph" add table "public"\."entity";/,
    ],
    [
      'a table that is published with others alone',
      { published: { listed: false, columns: ['id', 'data', 'at'], filtered: false } },
      /POSTGRES_PUBLICATION .*does not list public\.entity by its name.*create publication … for table "public"\."entity"/,
    ],
    [
      'a column that is not published',
      { published: { listed: true, columns: ['id', 'at'], filtered: false } },
      /leaves out data of/,
    ],
    [
      'a row filter',
      { published: { listed: true, columns: ['id', 'data', 'at'], filtered: true } },
      /filters rows/,
    ],
  ])('names %s, with its remedy', (_, found, expected) => {
    expect(problems(found)).toEqual([expect.stringMatching(expected)]);
  });

  it('reports all problems of a table at once', () => {
    expect(problems({ uniqueKeys: [], published: null, columns: [], selectable: false })).toHaveLength(5);
  });

  const small = { columns: new Map([['id', 'uuid' as const]]) };

  it('does not ask for FULL where no mapped column is large', () => {
    expect(problems({ replicaIdentity: 'd', identityColumns: ['id'] }, small)).toEqual([]);
  });

  it('asks for FULL where deletes would not carry the key', () => {
    expect(problems({ replicaIdentity: 'i', identityColumns: ['other'] }, small)).toEqual([
      expect.stringMatching(
        /POSTGRES_REPLICA_IDENTITY Deletes from public\.entity do not carry its key \(id\)/,
      ),
    ]);
  });

  const part = (column: string, bytes = false) => ({ column, bytes });

  it('accepts a composite key that is unique in any order, but wants an index in its own', () => {
    const key = [
      { name: 'id', kind: 'uuid' as const },
      { name: 'at', kind: 'text' as const },
    ];
    const uniqueKeys = [['at', 'id']];
    const orders = [[part('at'), part('id')]];
    expect(problems({ uniqueKeys, orders }, { key })).toEqual([
      expect.stringMatching(/no index in that order: create index on "public"\."entity" \("id", "at"\);$/),
    ]);
    expect(
      problems({ uniqueKeys, orders: [...orders, [part('id'), part('at'), part('note')]] }, { key }),
    ).toEqual([]);
  });

  it('wants text that leads a key in an index by its bytes', () => {
    const key = [{ name: 'note', kind: 'text' as const }];
    const uniqueKeys = [['note']];
    expect(problems({ uniqueKeys, orders: [[part('note')]] }, { key })).toEqual([
      expect.stringMatching(/create index on "public"\."entity" \("note" collate "C"\);$/),
    ]);
    expect(problems({ uniqueKeys, orders: [[part('note', true)]] }, { key })).toEqual([]);
  });

  it('wants partitions published under the name of their table', () => {
    const from = { ...publication, found: publication.found && { ...publication.found, viaRoot: false } };
    expect(problems({ kind: 'p' }, {}, from)).toEqual([
      expect.stringMatching(/publish_via_partition_root = true/),
    ]);
    expect(problems({ kind: 'p' })).toEqual([]);
  });

  describe('of partitions', () => {
    const partition = (name: string, is: Partial<PartitionFacts> = {}): PartitionFacts => ({
      schema: 'public',
      name,
      unlogged: false,
      replicaIdentity: 'f',
      identityColumns: [],
      ...is,
    });
    const keyed = { replicaIdentity: 'd', identityColumns: ['id'] } as const;
    const blind = { replicaIdentity: 'i', identityColumns: ['other'] } as const;
    const of = (...partitions: PartitionFacts[]) => ({ kind: 'p', partitions });

    it('finds nothing wrong with those that are as their table', () => {
      expect(problems(of(partition('e1'), partition('e2')))).toEqual([]);
      expect(problems({ ...of(partition('e1', keyed)), ...keyed }, small)).toEqual([]);
    });

    it.each<[string, Partial<PartitionFacts>, Partial<TableSpec>, RegExp]>([
      [
        'do not send large values',
        keyed,
        {},
        /^POSTGRES_REPLICA_IDENTITY .*of data are not sent.*: public\.e1, public\.e3: alter table "public"\."e1" replica identity full; alter table "public"\."e3" replica identity full;$/,
      ],
      [
        'do not send the key',
        blind,
        small,
        /^POSTGRES_REPLICA_IDENTITY .*\(id\) .*"e1" replica identity full; .*"e3" replica identity full;$/,
      ],
      [
        'are unlogged',
        { unlogged: true },
        {},
        /^POSTGRES_SCHEMA .*graph sync-data.*"public"\."e1" set logged; alter table "public"\."e3" set logged;$/,
      ],
    ])('names in one line those that %s, with the statement for each', (_, is, spec, expected) => {
      const found = of(partition('e1', is), partition('e2'), partition('e3', is));
      expect(problems(found, spec)).toEqual([expect.stringMatching(expected)]);
    });

    it('still wants of the table itself what it wants of them', () => {
      expect(problems({ ...of(partition('e1')), ...keyed })).toEqual([
        expect.stringMatching(/alter table "public"\."entity" replica identity full;$/),
      ]);
    });
  });

  it.each([
    ['uuid', 25, false],
    ['text', 1042, false], // char(n): padded
    ['text', 1043, true],
    ['bigint', 23, true],
    ['integer', 1700, false],
    ['boolean', 16, true],
    ['json', 114, true],
    ['any', 16_400, true],
    ['text', 16_400, false], // a domain, or an extension's type
  ] as const)('a column of kind %s and type oid %i fits: %s', (kind, oid, fits) => {
    const columns = [column('id', 2950, 'uuid'), column('x', oid, 'its type')];
    const found = problems(
      { columns },
      {
        columns: new Map([
          ['id', 'uuid'],
          ['x', kind],
        ]),
      },
    );
    expect(found.filter((line) => line.includes('its type')).length).toBe(fits ? 0 : 1);
  });
});

describe('rules for the publication', () => {
  it('finds nothing wrong with a whole one', () => {
    expect(publicationProblems(publication)).toEqual([]);
  });

  it('names it when it is missing', () => {
    expect(publicationProblems({ name: 'eiq_graph', found: null })).toMatchObject([{ table: null }]);
  });

  it('names the operations that it leaves out', () => {
    const operations = { insert: true, update: true, delete: false, truncate: false };
    expect(publicationProblems({ name: 'p', found: { operations, viaRoot: true } })).toMatchObject([
      { message: expect.stringMatching(/leaves out delete, truncate: alter publication "p" set/) as string },
    ]);
  });
});

describe('rules for a relation in the stream', () => {
  const relation: Relation = {
    oid: 1,
    schema: 'public',
    name: 'entity',
    replicaIdentity: 'f',
    columns: [
      { name: 'id', typeOid: 2950, typeModifier: -1, identity: true },
      { name: 'data', typeOid: 3802, typeModifier: -1, identity: true },
      { name: 'at', typeOid: 1184, typeModifier: -1, identity: true },
    ],
  };

  it('accepts added columns', () => {
    const added = { name: 'new', typeOid: 25, typeModifier: -1, identity: true };
    expect(() => {
      checkRelation({ ...relation, columns: [added, ...relation.columns] }, spec);
    }).not.toThrow();
  });

  it.each<[string, Relation['columns'], RegExp]>([
    ['a dropped column', relation.columns.slice(0, 2), /Column at of public\.entity is gone/],
    [
      'a retyped column',
      relation.columns.map((c) => (c.name === 'data' ? { ...c, typeOid: 25 } : c)),
      /Column data of public\.entity has another type/,
    ],
  ])('stops at %s, naming table and column', (_, columns, expected) => {
    const check = () => {
      checkRelation({ ...relation, columns }, spec);
    };
    expect(check).toThrow(expected);
    expect(check).toThrow(expect.toSatisfy((error) => isAppError(error, 'POSTGRES_SCHEMA')) as Error);
  });
});
