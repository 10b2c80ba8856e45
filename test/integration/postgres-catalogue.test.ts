/** Source, slot, publication and tables as a real catalogue describes them; connections that are refused. */
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ErrorCode, isAppError } from '../../src/core/errors.ts';
import { formatLsn, parseLsn } from '../../src/core/lsn.ts';
import { changedPublication, rewrittenColumns } from '../../src/core/source-identity.ts';
import { type Database, openDatabase } from '../../src/postgres/client.ts';
import { ensurePublication, missingTables, publishedTables } from '../../src/postgres/publication.ts';
import { createSlot, dropSlot, inspectSlot } from '../../src/postgres/slot.ts';
import { inspectSource, requireSource } from '../../src/postgres/source.ts';
import { openStream } from '../../src/postgres/stream.ts';
import type { TableSpec } from '../../src/postgres/table-rules.ts';
import { checkKeys, checkTables, estimateRows, partitionedTables } from '../../src/postgres/tables.ts';
import { connect as openRaw, createSource, type Source, withDatabase } from '../support/postgres-source.ts';

const code = (wanted: ErrorCode) => expect.toSatisfy((error: unknown) => isAppError(error, wanted)) as Error;
const never = new AbortController().signal;
const PASSWORD = 'canary-Ω%2F-secret';

let source: Source;
let database: Database;
/** A role that may log in, and nothing else. */
let plain: string;

beforeAll(async () => {
  source = await createSource(
    'catalogue',
    `create table sound (id uuid primary key, data jsonb, at timestamptz);
     alter table sound replica identity full;
     create table unsound (id uuid, at timestamp, data text);
     create table hidden (id int primary key, owner text);
     create table parted (id int primary key) partition by range (id);
     create table parted_1 partition of parted for values from (0) to (10);
     create table other_key (id uuid primary key, code bigint not null unique);
     create table indexed (id bigint primary key, code int not null);
     create unique index partial on indexed (code) where code > 0;
     create unique index expression on indexed ((code + 1));
     create schema "odd ""schema""";
     create table "odd ""schema"""."Ünïcode" (id int primary key);
     insert into hidden select i, 'x' from generate_series(1, 1000) i;
     create publication listing for table
       sound, unsound, hidden, parted, other_key, indexed, "odd ""schema"""."Ünïcode"`,
  );
  database = source.database;
  plain = `${source.name}_plain`;
  await source.client.query(`create role ${plain} login password '${PASSWORD}'`);
});
afterAll(async () => {
  await source.client.query(`drop owned by ${plain}; drop role ${plain}`);
  await source.dispose();
});

function urlOf(user: string, password: string): string {
  const url = new URL(source.url);
  url.username = user;
  url.password = encodeURIComponent(password);
  return url.href;
}

function spec(
  name: string,
  key: TableSpec['key'],
  columns: TableSpec['columns'],
  schema = 'public',
): TableSpec {
  return { schema, name, key, columns };
}

describe('the source', () => {
  it('is described as PostgreSQL describes itself to its replicas', async () => {
    const described = await inspectSource(database);
    const walsender = await openRaw(`${source.url}?replication=database`);
    const { rows } = await walsender.query<Record<string, string>>('IDENTIFY_SYSTEM');
    await walsender.end();
    expect(described).toMatchObject({
      systemIdentifier: rows[0]?.['systemid'],
      timeline: Number(rows[0]?.['timeline']),
      database: source.name,
      walLevel: 'logical',
      inRecovery: false,
      encoding: 'UTF8',
      walSenderTimeoutMs: 60_000,
      mayReplicate: true,
    });
    // Not with IDENTIFY_SYSTEM's, which is flushed: what is written may be ahead of it.
    const later = await inspectSource(database);
    expect(described.currentLsn <= later.currentLsn).toBe(true);
    expect(later.currentLsn >= parseLsn(rows[0]?.['xlogpos'] ?? '')).toBe(true);
    requireSource(described);
  });

  it('is refused where it cannot be one', async () => {
    const sound = await inspectSource(database);
    const asPlain = openDatabase(urlOf(plain, PASSWORD));
    const described = await inspectSource(asPlain);
    await asPlain.close();
    const refusal = (changed: Partial<typeof sound>) => () => {
      requireSource({ ...sound, ...changed });
    };
    expect(refusal(described)).toThrow(code('POSTGRES_PRIVILEGE'));
    expect(refusal({ walLevel: 'replica' })).toThrow(code('POSTGRES_WAL_LEVEL'));
    expect(refusal({ encoding: 'SQL_ASCII' })).toThrow(/SQL_ASCII/);
    expect(refusal({ encoding: 'LATIN1' })).toThrow(/LATIN1/);
    expect(refusal({ version: 140_012 })).toThrow(/this is 14\./);
    expect(refusal({ inRecovery: true })).toThrow(/standby/);
  });
});

describe('the slot', () => {
  it('is described while it is free, read, and gone', async () => {
    const name = `${source.name}_slot`;
    expect(await inspectSlot(database, name)).toBeNull();
    const from = await createSlot(database, name);
    expect(await inspectSlot(database, name)).toMatchObject({
      activePid: null,
      confirmedFlush: from,
      walStatus: 'reserved',
      invalidation: null,
      synced: false,
    });
    const [made] = await database.query<{ version: number; failover: string | null }>(
      `select current_setting('server_version_num')::int as version, to_jsonb(s) ->> 'failover' as failover
         from pg_replication_slots s where slot_name = $1`,
      [name],
    );
    expect(made?.failover).toBe((made?.version ?? 0) < 170_000 ? null : 'true');
    const options = { connectionString: source.url, slot: name, publication: source.name };
    const stream = await openStream(options, never);
    expect(await inspectSlot(database, name)).toMatchObject({ activePid: stream.backendPid });
    const { rows } = await source.client.query<{ lag: string }>(
      `select pg_logical_emit_message(true, 'x', repeat('x', 100000)) - $1::pg_lsn as lag`,
      [formatLsn(from)],
    );
    expect((await inspectSlot(database, name))?.lagBytes).toBeGreaterThanOrEqual(BigInt(rows[0]?.lag ?? 0));
    await stream.close();
    await dropSlot(database, name);
    expect(await inspectSlot(database, name)).toBeNull();
  });

  it('is not left behind by a creation that is given up while it waits', async () => {
    const name = `${source.name}_waiting`;
    await source.client.query('begin; select pg_current_xact_id()');
    const controller = new AbortController();
    const creating = createSlot(database, name, controller.signal);
    const refused = expect(creating).rejects.toThrow(controller.signal.reason as Error);
    while ((await inspectAll(name)) === 0);
    controller.abort();
    await refused;
    await source.client.query('commit');
    while ((await inspectAll(name)) > 0);
    expect(await inspectSlot(database, name)).toBeNull();
  });

  async function inspectAll(name: string): Promise<number> {
    const rows = await database.query(`select from pg_replication_slots where slot_name = $1`, [name]);
    return rows.length;
  }
});

describe('the publication', () => {
  const [sound, odd] = [
    { schema: 'public', name: 'sound' },
    { schema: 'odd "schema"', name: 'Ünïcode' },
  ];

  it('is made, found whole, found wanting, and mended when allowed', async () => {
    const options = { name: 'pub "1"', slot: 'no_such_slot', manage: false };
    const ensure = (changed: object) =>
      ensurePublication(database, { ...options, tables: [sound], ...changed });
    const both = { tables: [sound, odd] };
    const missing = () => missingTables(database, { ...options, ...both });
    expect(await missing()).toEqual([sound, odd]);
    await ensure({});
    await ensure({});
    expect(await missing()).toEqual([odd]);
    const wanting = ensure(both);
    await expect(wanting).rejects.toThrow(code('POSTGRES_PUBLICATION'));
    await expect(wanting).rejects.toThrow(
      /alter publication "pub ""1""" add table "odd ""schema"""."Ünïcode";/,
    );
    await ensure({ ...both, manage: true });
    await ensure(both);
    expect(await missing()).toEqual([]);
  });

  it('has a table as it did, or tells the difference', async () => {
    const publication = 'seen';
    const none = { key: [], columns: new Map() };
    const tables = [sound, odd].map((table) => ({ ...table, ...none }));
    const seen = () => publishedTables(database, { publication, tables });
    const run = (statement: string) => source.client.query(statement);
    const oddTable = '"odd ""schema"""."Ünïcode"';
    expect(await seen()).toEqual({});
    await run('create publication seen for table sound');
    const first = await seen();
    expect(Object.keys(first).sort()).toEqual(['odd "schema".Ünïcode', 'public.sound', 'publication']);
    await run(`alter publication seen add table ${oddTable}`);
    await run(`alter publication seen set table sound, ${oddTable}`);
    await run('analyze sound');
    const listed = await seen();
    for (const name of ['public.sound', 'publication']) expect(listed[name], name).toBe(first[name]);
    await run(`alter publication seen set (publish = 'insert')`);
    await run(`alter publication seen set (publish = 'insert, update, delete, truncate')`);
    const restored = await seen();
    expect(restored['public.sound']).toBe(first['public.sound']);
    expect(restored['publication']).not.toBe(first['publication']);
    const states = new Set([first['public.sound']]);
    for (const change of [
      'alter publication seen drop table sound',
      'alter publication seen add table sound',
      'alter publication seen set table sound (id)',
      `alter publication seen set (publish = 'insert, update, truncate')`,
      'drop publication seen; create publication seen for table sound',
      'alter table sound rename to sound_away; create table sound (id uuid); alter publication seen add table sound',
      'drop table sound; alter table sound_away rename to sound; drop publication seen; create publication seen for all tables',
      'drop publication seen; create publication seen for tables in schema public',
    ]) {
      await run(change);
      states.add((await seen())['public.sound']);
    }
    expect(states.size).toBe(9);
    const whole = (await seen())['public.sound'];
    await run('alter table sound rename to sound_away');
    expect((await seen())['public.sound']).toBe('absent');
    await run('alter table sound_away rename to sound; create table child () inherits (sound)');
    expect((await seen())['public.sound']).toBe(`${whole ?? ''}/inherited`);
    await run('drop table child');
    expect((await seen())['public.sound']).toBe(whole);
    await run('drop publication seen');
  });

  it('has columns as they were, or tells which are others, or rewritten', async () => {
    const publication = 'columns';
    await source.client
      .query(`create type mood as enum ('glad', 'sad'); create domain felt as mood; create domain feeling as felt;
      create table typed (id int primary key, value varchar(10), at timestamptz, n int,
                          twice int generated always as (n * 2) stored, mood mood, felt feeling, moods felt[]);
      create table halves (id int primary key, value text) partition by range (id);
      create table half partition of halves for values from (0) to (10);
      create publication columns for table typed, halves with (publish_via_partition_root = true)`);
    const key = [{ name: 'id', kind: 'bigint' as const }];
    const tables = [
      spec(
        'typed',
        key,
        new Map([
          ['id', 'bigint'],
          ['value', 'text'],
          ['at', 'timestamp'],
          ['twice', 'integer'],
          ['mood', 'any'],
          ['felt', 'any'],
          ['moods', 'any'],
        ]),
      ),
      spec(
        'halves',
        key,
        new Map([
          ['id', 'bigint'],
          ['value', 'text'],
        ]),
      ),
    ].map((table) => ({ ...table, table: `public.${table.name}` }));
    const changedBy = async (statement: string) => {
      const before = await publishedTables(database, { publication, tables });
      await source.client.query(statement);
      const now = await publishedTables(database, { publication, tables });
      const gap = changedPublication(before, now);
      return (
        gap ??
        rewrittenColumns(before, now, tables)
          .map(({ table, column }) => `${table}.${column}`)
          .join()
      );
    };
    for (const harmless of [
      'vacuum full typed',
      'alter table typed alter column value type varchar(20)',
      'alter table typed alter column value type text',
      'alter table typed alter column at set not null',
      'alter table typed alter column id set statistics 10',
      'alter table typed add column more uuid default gen_random_uuid()',
      'alter table typed alter column more type text',
      'analyze typed',
      `alter type mood add value 'angry' before 'sad'`,
      'truncate typed',
      'create table other_half partition of halves for values from (10) to (20)',
      'vacuum full half',
    ])
      expect(await changedBy(harmless), harmless).toBe('');
    for (const [statement, column] of [
      ['alter table typed alter column value type varchar(3)', 'public.typed.value'],
      [`alter table typed alter column value type varchar(3) using value || ''`, 'public.typed.value'],
      ['alter table typed alter column at type timestamptz(0)', 'public.typed.at'],
      ['alter table typed drop column value; alter table typed add column value text', 'public.typed.value'],
      ['alter table typed alter column twice set expression as (n * 3)', 'public.typed.twice'],
      [
        `alter type mood rename value 'sad' to 'blue'`,
        'public.typed.mood,public.typed.felt,public.typed.moods',
      ],
      [
        `alter type mood rename value 'blue' to 'sad'; alter type mood rename value 'sad' to 'blue'`,
        'public.typed.mood,public.typed.felt,public.typed.moods',
      ],
      [`alter table halves alter column value type text using value || ''`, 'public.halves.value'],
    ] as const)
      expect(await changedBy(statement), statement).toBe(column);
    await source.client.query('begin; lock table typed, halves in access exclusive mode');
    await publishedTables(database, { publication, tables }, AbortSignal.timeout(2_000)).finally(() =>
      source.client.query('rollback'),
    );
    expect(await changedBy('alter table typed alter column id type bigint using id + 1')).toMatch(
      /^public\.typed\.id: a key/,
    );
  });

  it('is not made for a slot that is older', async () => {
    const late = ensurePublication(database, {
      name: 'late',
      slot: source.name,
      tables: [sound],
      manage: true,
    });
    await expect(late).rejects.toThrow(code('SOURCE_CHANGED'));
  });
});

describe('tables', () => {
  const uuid = [{ name: 'id', kind: 'uuid' as const }];

  it('that are sound have no problems', async () => {
    const specs = [
      spec(
        'sound',
        uuid,
        new Map([
          ['id', 'uuid'],
          ['data', 'json'],
          ['at', 'timestamp'],
        ] as const),
      ),
      spec('Ünïcode', [{ name: 'id', kind: 'bigint' }], new Map([['id', 'bigint']]), 'odd "schema"'),
      spec('hidden', [{ name: 'id', kind: 'bigint' }], new Map([['id', 'bigint']])),
    ];
    expect(await checkTables(database, specs, 'listing')).toEqual([]);
    // Each could leave such a publication by a mere change of the table.
    await source.client.query('create publication by_schema for tables in schema public, "odd ""schema"""');
    for (const publication of [source.name, 'by_schema']) {
      const problems = await checkTables(database, specs, publication);
      expect(problems.map(({ message }) => message)).toEqual(
        ['public.sound', 'odd "schema".Ünïcode', 'public.hidden'].map(
          (name) =>
            expect.stringContaining(
              `The publication ${publication} does not list ${name} by its name`,
            ) as string,
        ),
      );
    }
    await source.client.query('drop publication by_schema');
  });

  it('that are not have all of them at once', async () => {
    const specs = [
      spec('absent', uuid, new Map([['id', 'uuid']])),
      spec(
        'unsound',
        uuid,
        new Map([
          ['id', 'uuid'],
          ['at', 'timestamp'],
          ['gone', 'any'],
        ] as const),
      ),
      spec('other_key', [{ name: 'code', kind: 'bigint' }], new Map([['code', 'bigint']])),
      spec('indexed', [{ name: 'code', kind: 'bigint' }], new Map([['code', 'bigint']])),
      spec('parted', [{ name: 'id', kind: 'bigint' }], new Map([['id', 'bigint']])),
    ];
    const problems = await checkTables(database, specs, 'listing');
    expect(problems.map(({ table, message }) => `${table ?? ''}: ${message}`)).toEqual([
      expect.stringMatching(/public\.absent: .*does not exist/),
      expect.stringMatching(/public\.unsound: Column at .*needs timestamp with time zone/),
      expect.stringMatching(/public\.unsound: .*no column gone/),
      expect.stringMatching(/public\.unsound: .*no unique index/),
      expect.stringMatching(/public\.unsound: .*may be null/),
      expect.stringMatching(/public\.unsound: Deletes .*replica identity full/),
      expect.stringMatching(/public\.other_key: Deletes .*replica identity full/),
      expect.stringMatching(/public\.indexed: The key \(code\) .*no unique index/),
      expect.stringMatching(/public\.indexed: Deletes .*replica identity full/),
      expect.stringMatching(/public\.parted: .*(publish_via_partition_root|does not publish)/),
    ]);
  });

  it('that have children, not partitions, are named', async () => {
    const problems = () => checkTables(database, [spec('unsound', uuid, new Map())], source.name);
    const without = await problems();
    await source.client.query('create table child () inherits (unsound)');
    const found = await problems();
    await source.client.query('drop table child');
    expect(found.filter((problem) => !without.some(({ message }) => message === problem.message))).toEqual([
      expect.objectContaining({
        message: expect.stringMatching(/public\.unsound has child tables/) as string,
      }),
    ]);
  });

  it('whose partitions have less in the WAL than they have themselves are named, and so are those', async () => {
    const run = (sql: string) => source.client.query(sql);
    const sections = spec(
      'sections',
      [{ name: 'id', kind: 'bigint' }],
      new Map([
        ['id', 'bigint'],
        ['data', 'text'],
      ] as const),
    );
    const problems = async () =>
      (await checkKeys(database, [sections])).map(({ code, message }) => `${code} ${message}`);
    await run(
      `create table sections (id int primary key, data text, other int not null default 0) partition by range (id);
       create table section_0 partition of sections for values from (0) to (10);
       create table section_1 partition of sections for values from (10) to (30) partition by range (id);
       create table section_10 partition of section_1 for values from (10) to (20);
       create unlogged table section_11 partition of section_1 for values from (20) to (30);
       alter table sections replica identity full; alter table section_0 replica identity full;
       alter table section_11 replica identity full;`,
    );
    expect(await partitionedTables(database, [spec('sound', uuid, new Map()), sections])).toEqual([sections]);
    expect(await problems()).toEqual([
      expect.stringMatching(/^POSTGRES_SCHEMA .*unlogged.*: public\.section_11: /),
      expect.stringMatching(/^POSTGRES_REPLICA_IDENTITY .* of data .*: public\.section_10: /),
    ]);
    await run(`alter table section_10 replica identity full; alter table section_11 set logged`);
    expect(await problems()).toEqual([]);
    // Who has locked one is not waited for.
    await run('begin; lock table section_0');
    expect(await problems()).toEqual([]);
    await run('rollback');
    await run(
      `create unique index by_other on section_0 (other); alter table section_0 replica identity using index by_other`,
    );
    expect(await problems()).toEqual([expect.stringMatching(/: public\.section_0: /)]);
    await run('drop table sections');
  });

  it('whose columns or rows the publication leaves out are named', async () => {
    await source.client.query(
      `create publication narrow for table sound (id, data) where (id is not null) with (publish = 'insert, update')`,
    );
    const columns = new Map([
      ['id', 'uuid'],
      ['at', 'timestamp'],
    ] as const);
    const problems = await checkTables(database, [spec('sound', uuid, columns)], 'narrow');
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringMatching(/leaves out delete, truncate/),
      expect.stringMatching(/leaves out at of public\.sound/),
      expect.stringMatching(/filters rows of public\.sound/),
    ]);
  });

  it('that the user may not read are named, and those whose rows are hidden', async () => {
    await source.client.query(
      `grant select on hidden to ${plain}; alter table hidden enable row level security`,
    );
    const asPlain = openDatabase(urlOf(plain, PASSWORD));
    const bigint = [{ name: 'id', kind: 'bigint' as const }];
    const specs = [
      spec('sound', uuid, new Map([['id', 'uuid']])),
      spec('hidden', bigint, new Map([['id', 'bigint']])),
    ];
    const problems = await checkTables(asPlain, specs, 'listing');
    // Who has looked before it was enabled does not read less, but nothing.
    await expect(asPlain.query('select from public.hidden')).rejects.toThrow(code('POSTGRES_PRIVILEGE'));
    await asPlain.close();
    expect(problems).toMatchObject(
      [
        { table: 'public.sound', code: 'POSTGRES_PRIVILEGE' },
        { table: 'public.hidden', code: 'POSTGRES_PRIVILEGE', message: /BYPASSRLS/ },
      ].map((p) => ({
        ...p,
        ...('message' in p ? { message: expect.stringMatching(p.message) as string } : {}),
      })),
    );
  });

  it('are estimated, or counted where nobody has analyzed them', async () => {
    const tables = ['hidden', 'sound'].map((name) => ({ schema: 'public', name }));
    expect(await estimateRows(database, tables)).toBe(1000);
    await source.client.query(`analyze hidden`);
    expect(await estimateRows(database, tables)).toBe(1000);
  });
});

describe('connections', () => {
  it.each<[string, () => string, ErrorCode]>([
    ['a wrong password', () => urlOf(plain, 'canary-wrong'), 'POSTGRES_AUTH'],
    ['an unknown user', () => urlOf('nobody', PASSWORD), 'POSTGRES_AUTH'],
    ['an unknown database', () => withDatabase(source.url, 'no_such_database'), 'POSTGRES_AUTH'],
    [
      'a port where nobody listens',
      () => urlOf(plain, PASSWORD).replace(/:\d+\//, ':1/'),
      'POSTGRES_UNREACHABLE',
    ],
    [
      'a host that does not exist',
      () => urlOf(plain, PASSWORD).replace(/@[^:]+:/, '@db.invalid:'),
      'POSTGRES_UNREACHABLE',
    ],
  ])('with %s are refused in one clear line, which never has the password', async (_, url, expected) => {
    const refused = openDatabase(url());
    const failures = [
      await refused.query('select 1').catch((error: unknown) => error),
      await openStream({ connectionString: url(), slot: 's', publication: 'p' }, never).catch(
        (error: unknown) => error,
      ),
    ];
    await refused.close();
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: expected });
      expect((failure as Error).message).toMatch(/^PostgreSQL at [^ ]+:\d+\/\w+ [^\n]+\.$/);
      expect(inspect(failure, { depth: null, showHidden: true })).not.toMatch(/canary/);
    }
  });

  it('without a password are told from a server that is not there', async () => {
    const refused = openDatabase(urlOf(plain, ''));
    await expect(refused.query('select 1')).rejects.toThrow(code('POSTGRES_AUTH'));
    await refused.close();
  });

  it('of a user without REPLICATION are refused for the stream', async () => {
    const options = { connectionString: urlOf(plain, PASSWORD), slot: source.name, publication: source.name };
    await expect(openStream(options, never)).rejects.toThrow(code('POSTGRES_PRIVILEGE'));
  });

  it('cancel on the server what is aborted here', async () => {
    const controller = new AbortController();
    const sleeping = database.query('select pg_sleep(60)', [], controller.signal);
    const refused = expect(sleeping).rejects.toThrow(controller.signal.reason as Error);
    const running = () =>
      database.query(
        `select from pg_stat_activity where query = 'select pg_sleep(60)' and datname = $1 and state = 'active'`,
        [source.name],
      );
    while ((await running()).length === 0);
    controller.abort();
    await refused;
    while ((await running()).length > 0);
  });

  it('survive the loss of an idle connection', async () => {
    await database.query('select 1');
    await source.client.query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = $1 and application_name = 'eiq-platform-graph'`,
      [source.name],
    );
    await expect(database.query(`select 1 as one`)).resolves.toEqual([{ one: 1 }]);
  });
});
