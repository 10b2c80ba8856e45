/** What the tests of a source's gaps share: platforms on servers of their own, what they write, and the way back from a gap. */
import { expect } from 'vitest';
import { hashNeo4j } from './canonical-neo4j.ts';
import { hashPostgres } from './canonical-postgres.ts';
import { compareHashes } from './compare.ts';
import { createPlatform, type Platform, type Process } from './platform.ts';
import { type PostgresServer, type PostgresServers, postgresServers } from './postgres-servers.ts';
import { published } from './published.ts';
import { servers } from './servers.ts';
import { soak } from './soak.ts';
import { expectStopped } from './stopped.ts';
import { createProxy, type Proxy } from './tcp-proxy.ts';

export interface Sources {
  readonly cluster: PostgresServers;
  readonly platformOn: (databaseUrl: string) => Promise<Platform>;
  readonly proxyOf: (server: PostgresServer) => Promise<Proxy>;
  readonly dispose: () => Promise<void>;
}

export async function createSources(): Promise<Sources> {
  const cluster = await postgresServers();
  const disposals: (() => Promise<void>)[] = [];
  return {
    cluster,
    async platformOn(databaseUrl) {
      const platform = await createPlatform('gap', { ...servers(), databaseUrl });
      disposals.push(() => platform.dispose());
      return platform;
    },
    async proxyOf(server) {
      const proxy = await createProxy(server.url);
      disposals.push(() => proxy.close());
      return proxy;
    },
    async dispose() {
      for (const dispose of disposals.reverse()) await dispose();
      await cluster.stop();
    },
  };
}

/** A publisher that has published what there is. */
export async function publishing(platform: Platform): Promise<Process> {
  const publisher = platform.start(['publish']);
  await publisher.logged(/streaming/);
  await write(platform);
  await published(platform);
  return publisher;
}

/** Whether the recovery from each gap is shown; else from those alone whose way to it differs most. */
export const RECOVERED = soak;

/** Has published what there is; where the recovery is shown, the graph has it too. */
export async function atRest(platform: Platform, recovered = RECOVERED): Promise<void> {
  const publisher = await publishing(platform);
  if (recovered) await projected(platform);
  await publisher.stop();
}

export async function projected(platform: Platform): Promise<void> {
  const projector = platform.start(['project']);
  await platform.expectEqual();
  await projector.stop();
}

/** In a transaction each. */
export async function write(platform: Platform, rows = 1): Promise<void> {
  await platform.sql.query(
    `do $$ begin for n in 1..${rows} loop
       insert into entity values (gen_random_uuid(), 'ttp', '{}', '{}', now(), now()); commit;
     end loop; end $$`,
  );
}

export async function createSlot({ sql, name }: Platform): Promise<void> {
  await sql.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
}

/** A start leaves to the next, and to `recover`, what it went by. */
const STARTS = soak ? 2 : 1;

export async function expectRefused(
  platform: Platform,
  reason: RegExp,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (let start = 0; start < STARTS; start++) await expectStopped(platform.start(['publish'], env), reason);
  const recover = await platform.run(['recover'], env);
  expect(recover).toMatchObject({ code: 2, stdout: expect.stringMatching(reason) as string });
}

/** Some of what the graph has goes, and something comes, before the recovery begins. */
export async function expectRecovered(
  platform: Platform,
  { env = {}, sql = platform.sql }: { env?: Readonly<Record<string, string>>; sql?: Platform['sql'] } = {},
): Promise<void> {
  await sql.query(`delete from entity where id in (select id from entity order by id limit 3)`);
  await sql.query(
    `insert into entity select gen_random_uuid(), 'ttp', '{}', '{}', now(), now() from generate_series(1, 3)`,
  );
  const recovering = platform.start(['recover', '--yes'], env);
  await recovering.logged(/a recovery has begun/);
  const replicator = platform.start(['replicate'], env);
  expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);
  const source = await hashPostgres(sql, 'public');
  const graph = await hashNeo4j(platform.driver, platform.names, servers().neo4jDatabase);
  expect(source.lines.length).toBeGreaterThan(0);
  expect(compareHashes(source, graph)).toEqual([]);
  await replicator.stop();
}
