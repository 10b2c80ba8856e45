import { afterEach, expect, it } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { fill } from '../support/fill.ts';
import { silent } from '../support/kafka.ts';
import { createKafkaProxy } from '../support/kafka-proxy.ts';
import { createPlatform, eventually, type Platform, underLoad } from '../support/platform.ts';

/**
 * Paused at the worst moment, while the group forms and its own transaction is open: 30 s until the others no longer wait for
 * it, 10 s until its session is over, 32 s until Neo4j ends the transaction.
 */
const GIVEN_UP_MS = 100_000;

let platform: Platform;
afterEach(() => platform.dispose());

async function loaded(name: string): Promise<Platform> {
  const created = await createPlatform(name);
  const first = created.start(['publish']);
  await first.logged(/streaming/);
  await first.kill('SIGTERM');
  await fill(created.sql, { seed: 5, entities: 300 });
  return created;
}

it('three projectors share the partitions; one that is paused is replaced, and writes nothing when it wakes', async () => {
  platform = await loaded('scale');
  platform.start(['publish']);
  const projectors = [0, 1, 2].map(() => platform.start(['project']));
  const owners = async () => {
    const rows = await platform.cypher(
      `MATCH (p:_Progress {namespace: $name}) WHERE p.owner IS NOT NULL RETURN DISTINCT p.owner AS owner`,
      { name: platform.name },
    );
    return rows.map((row) => String(row['owner']));
  };
  await underLoad(platform, async () => {
    await eventually('three owners', async () => (await owners()).length === 3, GIVEN_UP_MS);
    const [paused] = projectors;
    const owner = (await paused?.logged(/projecting/))?.['owner'];
    paused?.child.kill('SIGSTOP');
    await eventually(
      'the paused one owns nothing',
      async () => !(await owners()).includes(String(owner)),
      GIVEN_UP_MS,
    );
    paused?.child.kill('SIGCONT');
    await eventually('three owners again', async () => (await owners()).length === 3, GIVEN_UP_MS);
  });
  await platform.expectEqual(120);
  for (const projector of projectors) await projector.stop();
});

it('a second publisher stands by and takes over; the first one wakes, gives up its session and stands by itself', async () => {
  platform = await loaded('takeover');
  await platform.sql.query(`alter database ${platform.name} set wal_sender_timeout = '2s'`);
  platform.start(['project']);
  const first = platform.start(['publish']);
  await first.logged(/streaming/);
  const second = platform.start(['publish']);
  await second.logged(/standing by/);
  await underLoad(platform, async () => {
    first.child.kill('SIGSTOP');
    await second.logged(/streaming/);
    first.child.kill('SIGCONT');
    await first.logged(/standing by/);
  });
  await platform.expectEqual();
  await second.stop();
  await first.stop();
});

it('what a replaced publisher had sent and arrives late is refused, and its key is asked for again', async () => {
  platform = await loaded('late');
  await platform.sql.query(`alter database ${platform.name} set wal_sender_timeout = '2s'`);
  const projector = platform.start(['project']);
  const client = createKafka({ brokers: [platform.env['KAFKA_BROKERS'] ?? ''], clientId: 'test' }, silent);
  const kafka = await createKafkaProxy(platform.env['KAFKA_BROKERS'] ?? '');
  const first = platform.start(['publish'], { KAFKA_BROKERS: kafka.brokers });
  await first.logged(/streaming/);
  const second = platform.start(['publish']);
  await second.logged(/standing by/);
  await platform.expectEqual();
  const title = (text: string) =>
    platform.sql.query(
      `update entity set data = jsonb_build_object('title', $1::text), last_updated_at = now()
        where id = (select min(id::text)::uuid from entity)`,
      [text],
    );

  const held = kafka.hold();
  await title('older');
  await eventually('the record is on its way', () => Promise.resolve(held.holds('older')));
  first.child.kill('SIGSTOP');
  await second.logged(/streaming/);
  await title('newer');
  await platform.expectEqual();
  held.release();
  await projector.logged(/refused records of an older publisher session/);
  await platform.expectEqual();
  await eventually('the newer row was published again behind the late record', async () => {
    const latest = await readLatest(
      client,
      `${platform.name}.public.entity`,
      AbortSignal.timeout(20_000),
      String,
    );
    const row = [...latest.values()].filter((value) => value.includes('newer'));
    return row.length === 1 && row[0]?.includes('"op":"r"') === true;
  });
  first.child.kill('SIGCONT');
  await first.logged(/standing by/);
  await platform.expectEqual();
  for (const process of [projector, second, first]) await process.stop();
  await kafka.close();
});

it('and so it is where it arrives behind a recovery, in a partition that has had nothing since', async () => {
  platform = await createPlatform('behind');
  const projector = platform.start(['project']);
  const kafka = await createKafkaProxy(platform.env['KAFKA_BROKERS'] ?? '');
  const paused = platform.start(['publish'], { KAFKA_BROKERS: kafka.brokers });
  await paused.logged(/streaming/);
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at) values (gen_random_uuid(), 'ttp', '{}', now(), now())`,
  );
  await platform.expectEqual();

  const held = kafka.hold();
  await platform.sql.query(
    `insert into extract (id, kind, value, created_at, last_updated_at) values (1, 'ipv4', 'late', now(), now())`,
  );
  await eventually('the record is on its way', () => Promise.resolve(held.holds('late')));
  paused.child.kill('SIGSTOP');
  await platform.sql.query(
    `do $$ begin
       perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = '${platform.name}';
       perform pg_drop_replication_slot('${platform.name}');
       delete from extract;
     end $$`,
  );
  const recovering = platform.start(['recover', '--yes']);
  await recovering.logged(/a recovery has begun/);
  const publisher = platform.start(['publish']);
  expect(await recovering.exited, recovering.stderr().slice(-3000)).toBe(0);

  held.release();
  await projector.logged(/refused records of an older publisher session/);
  await platform.expectEqual();
  const { code, stdout } = await platform.run(['status']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.not.stringContaining('GAP') as string });
  await paused.kill('SIGKILL');
  for (const process of [projector, publisher]) await process.stop();
  const again = platform.start(['project']);
  await again.logged(/partitions assigned/);
  await again.stop();
  await kafka.close();
});
