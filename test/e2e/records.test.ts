/** Records that are large, poisonous, stale or strange. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKafka } from '../../src/kafka/client.ts';
import { readDeadLetters } from '../../src/kafka/dead-letters.ts';
import { createPublisher } from '../../src/kafka/publisher.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { edit, createPlatform, eventually, type Platform, type Process } from '../support/platform.ts';
import { join } from 'node:path';

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform('records');
});
afterEach(() => platform.dispose());

async function replicate(): Promise<Process> {
  const started = platform.start(['replicate']);
  await started.logged(/streaming/);
  return started;
}

function kafka() {
  return createKafka({ brokers: [platform.env['KAFKA_BROKERS'] ?? ''], clientId: 'test' }, silent);
}

const deadLetters = () =>
  readDeadLetters(kafka(), `${platform.name}.dead-letters`, AbortSignal.timeout(20_000));

async function insertText(bytes: number): Promise<string> {
  const id = randomUUID();
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     select $1, 'report', jsonb_build_object('title', 'large', 'text', repeat(md5(random()::text), $2::int / 32)), now(), now()`,
    [id, bytes],
  );
  return id;
}

describe('a row', () => {
  it('of 1 MB and of 16 MB is delivered; one beyond the limit is a dead letter until it is smaller, and the slot moves on', async () => {
    const replicator = await replicate();
    await insertText(1_000_000);
    await insertText(16_000_000);
    await platform.expectEqual(90);
    const id = await insertText(100_000_000);
    await insertText(1000);
    expect(await platform.run(['wait', '--timeout', '60'])).toMatchObject({ code: 0 });
    expect((await deadLetters()).map((letter) => [letter.reason.code, letter.key])).toEqual([
      ['KAFKA_RECORD_TOO_LARGE', `{"id":"${id}"}`],
    ]);
    const status = JSON.parse((await platform.run(['status', '--json'])).stdout) as { deadLetters: number };
    expect(status.deadLetters).toBe(1);
    expect(await platform.run(['dead-letters', 'redrive'])).toMatchObject({
      code: 1,
      stdout: '0 redriven, 1 failed again\n',
    });
    await platform.sql.query(`update entity set data = '{}' where id = $1`, [id]);
    expect(await platform.run(['dead-letters', 'redrive'])).toMatchObject({
      code: 0,
      stdout: '1 redriven, 0 failed again\n',
    });
    await platform.expectEqual();
    expect(await deadLetters()).toEqual([]);
    expect(replicator.child.exitCode).toBeNull();
  });

  it('with values of every kind arrives byte for byte', async () => {
    await replicate();
    const awkward = [
      '{"n": 12345678901234567890.12, "z": 1.0, "title": "quote \\" backslash \\\\ tab \\t"}',
      '{"title": "😀 \\u202eright-to-left مرحبا", "__proto__": {"x": 1}, "constructor": "y"}',
      '{"title": "`) DETACH DELETE n //", "id": "$row[0]", "u": "\\u0060"}',
    ];
    for (const data of awkward) {
      await platform.sql.query(
        `insert into entity (id, type, data, meta, created_at, last_updated_at)
         values (gen_random_uuid(), 'ttp', $1, '{"tlp_color": null}', '0044-03-15 00:00:00+00 BC', '2024-01-01 00:00:00.123456+00')`,
        [data],
      );
    }
    await platform.sql.query(
      `insert into entity (id, type, data, created_at, last_updated_at) values (gen_random_uuid(), 'ttp', '[]', 'infinity', '-infinity')`,
    );
    await platform.sql.query(
      `insert into extract values (-9223372036854775808, 'text', repeat('x', 5000) || E'\\u0001', '{}', '294276-12-31 23:59:59.999999+00', now())`,
    );
    await platform.expectEqual();
  });
});

describe('a record', () => {
  it('that cannot be applied becomes one dead letter, and holds up no other key', async () => {
    const replicator = await replicate();
    await insertText(100);
    await platform.expectEqual();
    const topic = `${platform.name}.public.entity`;
    const good = await anyValue(topic);
    const publisher = await createPublisher(kafka(), { topics: [topic] }, silent);
    const huge = 'x'.repeat(40_000);
    const poison = good.replace(/"after":\{"id":"[^"]+"/, `"after":{"id":"${huge}"`);
    expect(poison).toContain(huge);
    await publisher.send([
      { topic, key: '{"id":"poison"}', value: poison },
      { topic, key: '{"id":"no json"}', value: 'no json' },
      { topic, key: '{"id":"null"}', value: null },
    ]);
    await publisher.close();
    const writtenAt = performance.now();
    await insertText(100);
    await platform.expectEqual();
    expect(performance.now() - writtenAt).toBeLessThan(10_000);
    const reasons = (await deadLetters()).map((letter) => [letter.key, letter.reason.code]);
    expect(Object.fromEntries(reasons)).toEqual({
      '{"id":"poison"}': 'NEO4J_REJECTED',
      '{"id":"no json"}': 'RECORD_MALFORMED',
      '{"id":"null"}': 'RECORD_MALFORMED',
    });
    const listed = await platform.run(['dead-letters', 'list']);
    expect(listed.stdout.trim().split('\n')).toHaveLength(3);
    expect(await platform.run(['dead-letters', 'redrive', '--id', 'nonsense'])).toMatchObject({
      code: 2,
      stdout: '',
    });
    const [first, ...others] = await deadLetters();
    const one = await platform.run(['dead-letters', 'redrive', '--id', first?.id ?? '']);
    expect(one).toMatchObject({ code: 0, stdout: '1 redriven, 0 failed again\n' });
    expect(await deadLetters()).toEqual(others);
    const redriven = await platform.run(['dead-letters', 'redrive']);
    expect(redriven).toMatchObject({ code: 0, stdout: '2 redriven, 0 failed again\n' });
    expect(await deadLetters()).toEqual([]);
    await platform.expectEqual();
    expect(replicator.child.exitCode).toBeNull();
  });

  it('whose key is none of a row can only be discarded', async () => {
    await replicate();
    await insertText(100);
    const topic = `${platform.name}.public.entity`;
    const publisher = await createPublisher(kafka(), { topics: [topic] }, silent);
    await publisher.send([{ topic, key: 'no json', value: 'no json' }]);
    await publisher.close();
    await platform.expectEqual();
    const redriven = await platform.run(['dead-letters', 'redrive']);
    expect(redriven).toMatchObject({ code: 1, stdout: '0 redriven, 0 failed again\n' });
    expect(redriven.stderr).toMatch(/^No row has the key of [0-9a-f]{12} .*RECORD_MALFORMED/);
    const [letter] = await deadLetters();
    const discarded = await platform.run(['dead-letters', 'discard', '--id', letter?.id ?? '']);
    expect(discarded).toMatchObject({ code: 0, stdout: '1 discarded\n' });
    expect(await deadLetters()).toEqual([]);
  });

  it('of an older publisher session is refused, and its key is asked for again', async () => {
    const replicator = await replicate();
    const id = await insertText(100);
    await platform.expectEqual();
    const topic = `${platform.name}.public.entity`;
    const current = await anyValue(topic);
    const stale = current
      .replace(/"session":\d+/, '"session":1')
      .replace('"title\\": \\"large', '"title\\": \\"stale');
    expect(stale).toContain('stale');
    const publisher = await createPublisher(kafka(), { topics: [topic] }, silent);
    await publisher.send([{ topic, key: `{"id":"${id}"}`, value: stale }]);
    await publisher.close();
    await replicator.logged(/refused records of an older publisher session/);
    const last = async () => {
      const latest = await readLatest(kafka(), topic, AbortSignal.timeout(20_000), String);
      return JSON.parse(latest.get(`{"id":"${id}"}`) ?? '{}') as {
        op?: string;
        source?: { session: number };
      };
    };
    await eventually('what compaction keeps of the key is a record of this session', async () => {
      const { op, source } = await last();
      return op === 'r' && (source?.session ?? 0) > 1;
    });
    await platform.expectEqual();
    await replicator.stop();
    await platform.cypher(`MATCH (n) WHERE $label IN labels(n) OR n.namespace = $name DETACH DELETE n`, {
      label: platform.names.labels.entity,
      name: platform.name,
    });
    await replicate();
    await platform.expectEqual();
  });
});

describe('the publisher stops, naming table and column,', () => {
  it('when a mapped column is renamed; what came before is in the graph; a mended mapping goes on', async () => {
    const replicator = await replicate();
    await insertText(100);
    await platform.sql.query(`alter table entity rename column meta to metadata`);
    await insertText(100);
    expect(await replicator.exited).toBe(1);
    expect(replicator.stderr()).toMatch(
      /Column meta of public\.entity is gone|public\.entity has no column meta/,
    );
    const projector = platform.start(['project']);
    await eventually('the first row is in the graph', async () => {
      const rows = await platform.cypher(`MATCH (n:${platform.names.labels.entity}) RETURN n.id`);
      return rows.length === 1;
    });
    await projector.kill('SIGTERM');
    edit(join(platform.connectors, 'entities/entity.json'), (json) => {
      Object.assign(
        json,
        JSON.parse(JSON.stringify(json).replaceAll('"column":"meta"', '"column":"metadata"')),
      );
    });
    await replicate();
    await eventually('the second row is in the graph', async () => {
      const rows = await platform.cypher(`MATCH (n:${platform.names.labels.entity}) RETURN n.id`);
      return rows.length === 2;
    });
  });
});

/** The value of one record of a topic. */
async function anyValue(topic: string): Promise<string> {
  const latest = await readLatest(kafka(), topic, AbortSignal.timeout(20_000), String);
  return [...latest.values()].at(-1) ?? '';
}
