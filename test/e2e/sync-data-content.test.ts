/** `sync-data --deep`, `--print-diffs` and `--whole-graph` against drift that timestamps do not show; reports by hand. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPlatform, type Platform } from '../support/platform.ts';

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
/** All entities, extracts, relations and links have this time: 1717200000 seconds. */
const AT = '2024-06-01T00:00:00Z';
const DATA = `{"text": "${'long '.repeat(60)}", "title": "as it was"}`;

/** Entities 0 to 9, indicators and ttps by turns; relations n → n + 1; extracts 1 to 4; links of entity 0. */
const RELATIONS = [100, 101, 102, 103];
const EXTRACTS = [1, 2, 3, 4];
const LINKS = [
  [1, 'observed'],
  [2, 'sighted'],
  [3, 'seen'],
  [4, 'observed'],
] as const;

let platform: Platform;
let folder: string;
let entity: string;
let extract: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
  platform = await createPlatform('content');
  ({ entity, extract } = platform.names.labels);
  const { sql } = platform;
  await platform.start(['replicate']).logged(/streaming/);
  for (let n = 0; n < 10; n++)
    await sql.query(
      `insert into entity (id, type, data, created_at, last_updated_at) values ($1, $2, $3, $4, $4)`,
      [idOf(n), n % 2 === 0 ? 'indicator' : 'ttp', DATA, AT],
    );
  for (const n of RELATIONS)
    await sql.query(
      `insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
       values ($1, 'uses', $2, 'ttp', $3, 'ttp', $4, $4)`,
      [idOf(n), idOf(n - 100), idOf(n - 99), AT],
    );
  for (const n of EXTRACTS)
    await sql.query(
      `insert into extract (id, kind, value, created_at, last_updated_at) values ($1, 'ipv4', $2, $3, $3)`,
      [n, `10.0.0.${n}`, AT],
    );
  for (const [n, type] of LINKS)
    await sql.query(
      `insert into entity_extract (entity_id, extract_id, link_type, created_at, last_updated_at)
       values ($1, $2, $3, $4, $4)`,
      [idOf(0), n, type, AT],
    );
  await platform.expectEqual();
});
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

let files = 0;
async function syncData(args: readonly string[], extension = 'json') {
  const file = join(folder, `report-${files++}.${extension}`);
  const { code, stdout, stderr } = await platform.run(
    ['sync-data', '--check-results-file', file, '--max-wait', '20', '--batch-size', '3', ...args],
    { LOG_LEVEL: 'warn' },
  );
  const read = () => readFileSync(file, 'utf8');
  return { code, file, stdout, stderr, read, report: () => JSON.parse(read()) as Record<string, unknown> };
}

const node = (n: number, change: string) =>
  platform.cypher(`MATCH (n:${entity} {id: $id}) ${change}`, { id: idOf(n) });
const related = (n: number, change: string) =>
  platform.cypher(`MATCH (a)-[r:${platform.names.types.related} {id: $id}]->(b) ${change}`, { id: idOf(n) });
const observable = (n: number, change: string) =>
  platform.cypher(`MATCH (n:${extract} {id: $id}) ${change}`, { id: BigInt(n) });

async function injectDrift(): Promise<void> {
  const { types } = platform.names;
  await node(1, `SET n.title = 'edited by hand', n.mine = 1`);
  await node(2, 'REMOVE n:Indicator SET n:Ttp');
  await node(3, `SET n.last_updated_at = n.last_updated_at - 1, n.data = n.data + 'more'`);
  await node(4, 'SET n.last_updated_at = n.last_updated_at + 1');
  await node(5, 'SET n.last_updated_at = toFloat(n.last_updated_at)');
  await related(100, 'DELETE r');
  await related(101, `SET r.key = 'used'`);
  await related(
    102,
    `MATCH (c:${entity} {id: '${idOf(9)}'}) WITH a, c, r, properties(r) AS all DELETE r
     CREATE (a)-[n:${types.related}]->(c) SET n = all`,
  );
  // Its link goes with it.
  await observable(1, 'DETACH DELETE n');
  await observable(2, `SET n.value = '10.9.9.9'`);
  await platform.cypher(
    `MATCH (a:${entity} {id: $a}), (b:${entity} {id: $b}), (x:${extract} {id: 3})
     CREATE (:${extract} {id: 900, kind: 'ipv4'}), (:${extract} {id: 'Foreign'}),
            (a)-[:${types.related} {id: $foreign}]->(b), (a)-[:${types.linked} {_key: $link}]->(x),
            (:${entity}:Stub {id: 'idle'}), (:${extract}:Stub {id: 77})`,
    { a: idOf(0), b: idOf(9), foreign: idOf(901), link: JSON.stringify([idOf(0), '3', 'told']) },
  );
}

const ENTITIES = {
  entity_ids_to_delete: [],
  entity_ids_to_reindex: [3, 4, 5].map(idOf),
  n_missing: 0,
  n_not_deleted: 0,
  n_ok: 7,
  n_outdated: 2,
  n_strange: 1,
};
const DIFFERENT = { entity_ids_different: [1, 2].map(idOf), n_different: 2 };
const WHOLE = {
  'public.entity_extract': {
    keys_to_delete: [[idOf(0), '3', 'told']],
    keys_to_reindex: [[idOf(0), '1', 'observed']],
    n_missing: 1,
    n_not_deleted: 1,
    n_ok: 3,
    n_outdated: 0,
    n_unconfirmed: 0,
    n_unnamed: 0,
  },
  'public.extract': {
    // Text before integers.
    keys_to_delete: [['Foreign'], ['900']],
    keys_to_reindex: [['1'], ['2']],
    n_missing: 1,
    n_not_deleted: 2,
    n_ok: 2,
    n_outdated: 1,
    n_unconfirmed: 0,
    n_unnamed: 0,
  },
  'public.relation': {
    keys_to_delete: [[idOf(901)]],
    keys_to_reindex: [100, 101, 102].map((n) => [idOf(n)]),
    n_missing: 1,
    n_not_deleted: 1,
    n_ok: 1,
    n_outdated: 2,
    n_unconfirmed: 0,
    n_unnamed: 0,
  },
  stubs: { n_idle_stubs: 2 },
};
const SHOWN = {
  [idOf(3)]: {
    fields: {
      // The two part where the graph has more.
      data: { neo4j: `…${DATA.slice(-40)}more`, postgresql: `…${DATA.slice(-40)}` },
      last_updated_at: { neo4j: '1717199999999999', postgresql: '1717200000000000' },
    },
    last_updated_at_neo4j: '2024-05-31T23:59:59.999999Z',
    last_updated_at_postgresql: '2024-06-01T00:00:00.000000Z',
  },
  [idOf(4)]: {
    fields: { last_updated_at: { neo4j: '1717200000000001', postgresql: '1717200000000000' } },
    last_updated_at_neo4j: '2024-06-01T00:00:00.000001Z',
    last_updated_at_postgresql: '2024-06-01T00:00:00.000000Z',
  },
  [idOf(5)]: {
    fields: { last_updated_at: { neo4j: '1717200000000000 (FLOAT)', postgresql: '1717200000000000' } },
    last_updated_at_neo4j: null,
    last_updated_at_postgresql: '2024-06-01T00:00:00.000000Z',
  },
};
const TABLES = ['public.entity_extract', 'public.extract', 'public.relation'];

describe('a dry run', () => {
  it('of a graph that is right finds nothing, whatever is compared', async () => {
    const { code, report, stderr } = await syncData([
      '--dry-run',
      '--fail-on-drift',
      '--deep',
      '--whole-graph',
      '--print-diffs',
    ]);
    expect(code, stderr).toBe(0);
    const right = {
      keys_to_delete: [],
      keys_to_reindex: [],
      n_missing: 0,
      n_not_deleted: 0,
      n_ok: 4,
      n_outdated: 0,
      n_unconfirmed: 0,
      n_unnamed: 0,
    };
    const none = {
      entity_ids_to_reindex: [],
      entity_ids_different: [],
      n_different: 0,
      n_outdated: 0,
      n_strange: 0,
    };
    expect(report()).toEqual({
      diffs: {},
      ...ENTITIES,
      ...none,
      n_ok: 10,
      whole_graph: {
        ...Object.fromEntries(TABLES.map((table) => [table, right])),
        stubs: { n_idle_stubs: 0 },
      },
    });
  });

  it('without options reports what timestamps show, and nothing else', async () => {
    await injectDrift();
    const { code, read } = await syncData(['--dry-run']);
    expect(code).toBe(0);
    expect(read()).toBe(`${JSON.stringify(ENTITIES, null, 2)}\n`);
  });

  it('--deep finds equal timestamps with other content, which are ok by the specification as well', async () => {
    const { read } = await syncData(['--dry-run', '--deep']);
    const { entity_ids_different, n_different } = DIFFERENT;
    const { entity_ids_to_delete, entity_ids_to_reindex, ...counts } = ENTITIES;
    const expected = {
      entity_ids_different,
      entity_ids_to_delete,
      entity_ids_to_reindex,
      n_different,
      ...counts,
    };
    expect(read()).toBe(`${JSON.stringify(expected, null, 2)}\n`);

    const ttps = await syncData(['--dry-run', '--deep', '--entity-types', 'ttp']);
    expect(ttps.report()).toMatchObject({
      entity_ids_different: [idOf(1)],
      n_different: 1,
      n_ok: 3,
      n_outdated: 2,
    });
  });

  it('--print-diffs shows both sides of what is outdated or strange, in the report alone', async () => {
    const { read, stdout, stderr } = await syncData(['--dry-run', '--print-diffs']);
    expect(read()).toBe(`${JSON.stringify({ diffs: SHOWN, ...ENTITIES }, null, 2)}\n`);
    expect(stdout + stderr).not.toMatch(/title|long long/);

    const text = await syncData(['--dry-run', '--print-diffs'], 'txt');
    expect(text.read().split('\n').slice(0, 13)).toEqual([
      'diffs: 3',
      `  ${idOf(3)}`,
      '    fields',
      '      data',
      `        neo4j: ${JSON.stringify(`…${DATA.slice(-40)}more`)}`,
      `        postgresql: ${JSON.stringify(`…${DATA.slice(-40)}`)}`,
      '      last_updated_at',
      '        neo4j: "1717199999999999"',
      '        postgresql: "1717200000000000"',
      '    last_updated_at_neo4j: "2024-05-31T23:59:59.999999Z"',
      '    last_updated_at_postgresql: "2024-06-01T00:00:00.000000Z"',
      `  ${idOf(4)}`,
      '    fields',
    ]);

    const deep = await syncData(['--dry-run', '--print-diffs', '--deep']);
    expect(deep.report()['diffs']).toMatchObject({
      ...SHOWN,
      [idOf(1)]: {
        fields: {
          mine: { neo4j: '1', postgresql: null },
          title: { neo4j: 'edited by hand', postgresql: 'as it was' },
        },
      },
      [idOf(2)]: { fields: { 'labels()': { neo4j: 'Ttp', postgresql: 'Indicator' } } },
    });
  });

  it('--whole-graph finds what is wrong with relations, links, extracts and stubs, in a section of its own', async () => {
    const { code, read } = await syncData(['--dry-run', '--whole-graph', '--fail-on-drift']);
    expect(code).toBe(3);
    expect(read()).toBe(`${JSON.stringify({ ...ENTITIES, whole_graph: WHOLE }, null, 2)}\n`);

    const text = await syncData(['--dry-run', '--whole-graph'], 'txt');
    const lines = text.read().split('\n');
    expect(lines.slice(lines.indexOf('whole_graph:'), lines.indexOf('  public.extract:'))).toEqual([
      'whole_graph:',
      '  public.entity_extract:',
      '    keys_to_delete: 1',
      `      ["${idOf(0)}","3","told"]`,
      '    keys_to_reindex: 1',
      `      ["${idOf(0)}","1","observed"]`,
      '    n_missing: 1',
      '    n_not_deleted: 1',
      '    n_ok: 3',
      '    n_outdated: 0',
      '    n_unconfirmed: 0',
      '    n_unnamed: 0',
    ]);
    expect(lines.slice(-3)).toEqual(['  stubs:', '    n_idle_stubs: 2', '']);
  });

  it('of the whole graph takes no filter, and --max-repairs counts everything', async () => {
    for (const filter of [
      ['--entity-types', 'ttp'],
      ['--changed-after', '2024-01-01'],
    ]) {
      const { code, stderr } = await syncData(['--dry-run', '--whole-graph', ...filter]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/leave .* out/) as string });
    }
    const { code, stderr } = await syncData(['--deep', '--whole-graph', '--max-repairs', '16']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(
        /17 entities and other keys differ, which is more than --max-repairs 16/,
      ) as string,
    });
  });
});

/** When each table was last proved. */
async function verified(): Promise<(string | null)[]> {
  const status = JSON.parse((await platform.run(['status', '--json'])).stdout) as {
    tables: { verified: { at: string } | null }[];
  };
  return status.tables.map((table) => table.verified?.at ?? null);
}

describe('a repair', () => {
  it('mends all of it by asking the stream', async () => {
    const { code, stdout, stderr, report } = await syncData(['--deep', '--whole-graph']);
    expect(code, stderr).toBe(0);
    expect(report()).toEqual({ ...ENTITIES, ...DIFFERENT, whole_graph: WHOLE });
    expect(stdout).toMatch(/"total":5\}/);
    await platform.expectEqual();

    const again = await syncData(['--dry-run', '--deep', '--whole-graph', '--fail-on-drift']);
    expect(again.code, again.read()).toBe(0);
    const whole = again.report()['whole_graph'] as Record<string, Record<string, unknown>>;
    for (const table of TABLES) expect(whole[table]).toMatchObject({ n_ok: 4 });
    expect(whole['stubs']).toEqual({ n_idle_stubs: 0 });
  });

  it('proves nothing while there is a node that no row can have made, and does once it is gone', async () => {
    const everything = ['--dry-run', '--deep', '--whole-graph', '--fail-on-drift'];
    expect((await syncData(everything)).code).toBe(0);
    const before = await verified();
    for (const at of before) expect(at).not.toBeNull();

    await platform.cypher(`CREATE (:${entity} {id: 17})`);
    for (const [mode, code] of [
      [everything, 3],
      [['--deep', '--whole-graph'], 1],
    ] as const) {
      const found = await syncData(mode);
      expect(found.code).toBe(code);
      expect(found.stderr).toMatch(
        /^1 nodes or relationships of the mapping have a key that no row can have/m,
      );
      expect(found.stderr).toMatch(
        /^Nothing is verified by this run: 1 entities or other keys differ still/m,
      );
    }
    expect(await verified()).toEqual(before);
    await platform.cypher(`MATCH (n:${entity} {id: 17}) DELETE n`);
    expect((await syncData(everything)).code).toBe(0);
    const [first = null] = before;
    for (const at of await verified()) expect(Date.parse(at ?? '')).toBeGreaterThan(Date.parse(first ?? ''));
  });

  it('proves nothing by what an earlier run has compared', async () => {
    const entities = (change: string, ...ids: readonly number[]) =>
      platform.cypher(`MATCH (n:${entity}) WHERE n.id IN $ids SET ${change}`, { ids: ids.map(idOf) });
    const everything = ['--deep', '--whole-graph'];
    const before = await verified();
    await entities('n.last_updated_at = 0', 0, 1);
    const refused = await syncData([...everything, '--max-repairs', '1']);
    expect(refused.stderr).toMatch(/2 entities and other keys differ/);
    // Behind the back of what was compared.
    await entities(`n.title = 'edited by hand'`, 2);

    const results = ['sync-data', '--check-results-file', refused.file];
    const resumed = await platform.run([...results, ...everything, '--resume'], { LOG_LEVEL: 'info' });
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stderr).toMatch(/^A run that goes on from an earlier one proves nothing: .*$/m);
    expect(resumed.stderr).not.toContain('is verified');
    expect(await verified()).toEqual(before);

    expect((await syncData(everything)).report()).toMatchObject({ n_different: 1 });
    expect(await verified()).not.toEqual(before);
  });

  it('proves nothing unless it compares everything, beside the stream', async () => {
    const before = await verified();
    for (const less of [[], ['--deep'], ['--whole-graph'], ['--direct', '--deep', '--whole-graph']]) {
      const { code, stderr } = await syncData(['--dry-run', '--fail-on-drift', ...less]);
      expect(code, stderr).toBe(0);
    }
    expect(await verified()).toEqual(before);
  });

  it('says what no request can name, and mends a link under the type of another kind of link', async () => {
    const { types } = platform.names;
    await platform.cypher(
      `MATCH (a:${entity} {id: $a})-[r:${types.observed} {_key: $key}]->(x)
       CREATE (:${extract} {id: '5'}), (:${extract} {kind: 'no id'}), (a)-[:${types.linked} {_key: 'no list'}]->(x),
              (a)-[w:${types.sighted}]->(x) SET w = properties(r) DELETE r`,
      { a: idOf(0), key: JSON.stringify([idOf(0), '4', 'observed']) },
    );
    const { code, stderr, report } = await syncData(['--whole-graph']);
    expect(report()).toMatchObject({
      whole_graph: {
        'public.entity_extract': {
          keys_to_reindex: [[idOf(0), '4', 'observed']],
          n_outdated: 1,
          n_unnamed: 1,
        },
        'public.extract': { keys_to_delete: [], n_ok: 4, n_unnamed: 2 },
        'public.relation': { n_ok: 4, n_unnamed: 0 },
      },
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^3 nodes or relationships of the mapping have a key that no row can have/m);
    expect(stderr).not.toMatch(/still differ \(/);

    await platform.cypher(`MATCH (n:${extract}) WHERE n.id IS NULL OR n.id = '5' DELETE n`);
    await platform.cypher(`MATCH ()-[r:${types.linked} {_key: 'no list'}]->() DELETE r`);
    await platform.expectEqual();
  });
});
