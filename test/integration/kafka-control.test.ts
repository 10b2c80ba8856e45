import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type ControlRecord,
  controlTopicSpec,
  createControlWriter,
  readControl,
} from '../../src/kafka/control.ts';
import { createDeadLetters, deadLetterRecord, readDeadLetters } from '../../src/kafka/dead-letters.ts';
import { ensureTopics } from '../../src/kafka/topics.ts';
import { COMPACT_SOON, silent, type TestKafka, testKafka } from '../support/kafka.ts';

const never = new AbortController().signal;

let kafka: TestKafka;
beforeEach(async () => {
  kafka = await testKafka();
});
afterEach(async () => {
  await kafka.dispose();
});

function source(session: number, acknowledged: string): ControlRecord {
  return {
    kind: 'source',
    session,
    epoch: 1_764_000_000,
    systemIdentifier: '7571234567890123456',
    timeline: 1,
    database: 'd',
    slot: 'eiq_graph',
    acknowledged,
    lastCommit: { lsn: '0/16B3748', xid: 750 },
    loads: {},
    published: {},
    askedAgain: null,
    refusedRequests: 0,
    xids: [['751', '760']],
    ends: {},
    at: new Date().toISOString(),
  };
}

/** Without any, what is said of a source is not believed. */
const made: ControlRecord = {
  kind: 'topic',
  topic: 't',
  generation: 'g',
  createdAt: new Date().toISOString(),
};

function session(n: number): ControlRecord {
  return { kind: 'session', session: n, startedAt: new Date().toISOString() };
}

/** Writes filler, so that segments close, until compaction has left one record of each key that `keep` does not exclude. */
async function compacted(topic: string): Promise<string[]> {
  return await vi.waitFor(
    async () => {
      await kafka.publish([{ topic, key: '{"kind":"filler"}', value: '{"kind":"filler"}' }]);
      const keys = (await kafka.log(topic))
        .map((r) => r.key?.toString() ?? '')
        .filter((key) => !key.includes('filler'));
      expect(new Set(keys).size).toBe(keys.length);
      return keys;
    },
    { timeout: 30_000, interval: 100 },
  );
}

describe('the control topic', () => {
  it('gives back what was written, at once, and leaves no group behind', async () => {
    const spec = controlTopicSpec(kafka.name('control'), 1);
    await ensureTopics(kafka.admin, [spec], never);
    expect(await readControl(kafka.client, spec.topic, never)).toMatchObject({ source: null, session: 0 });
    const control = await createControlWriter(kafka.client, spec.topic, silent);
    await control.write([session(1), made]);
    for (let i = 1; i <= 300; i++) await control.write([source(1, `0/${i.toString(16).toUpperCase()}`)]);
    const started = performance.now();
    const state = await readControl(kafka.client, spec.topic, never);
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(state).toMatchObject({ session: 1, source: { acknowledged: '0/12C', xids: [['751', '760']] } });
    expect(state.topics.get('t')).toEqual(made);
    expect((await kafka.admin.listGroups()).groups.filter((g) => g.groupId.includes('control'))).toEqual([]);
    await control.close();
    await kafka.admin.deleteTopics({ topics: [spec.topic] });
  });

  it('believes the session that took over, whatever a paused one writes later and compaction keeps', async () => {
    const topic = await kafka.topic(1, COMPACT_SOON);
    const paused = await createControlWriter(kafka.client, topic, silent);
    await paused.write([made, session(5), source(5, '0/50')]);
    const current = await createControlWriter(kafka.client, topic, silent);
    await current.write([session(6), source(6, '0/60')]);
    await current.write([source(6, '0/61')]);
    await paused.write([source(5, '0/FF')]);
    const before = await readControl(kafka.client, topic, never);
    expect(before).toMatchObject({ session: 6, source: { session: 6, acknowledged: '0/61' } });
    const kept = await compacted(topic);
    expect(kept.filter((key) => key.includes('source'))).toHaveLength(2);
    expect(await readControl(kafka.client, topic, never)).toEqual(before);
    await Promise.all([paused.close(), current.close()]);
  });

  it('forgets all sessions but the last two, and is read to its end when the end has gone', async () => {
    const topic = await kafka.topic(1, COMPACT_SOON);
    const control = await createControlWriter(kafka.client, topic, silent);
    for (const n of [3, 4, 5, 6]) await control.write([session(n), source(n, '0/1')]);
    await control.forgetOldSessions(await readControl(kafka.client, topic, never));
    await control.close();
    const state = await readControl(kafka.client, topic, never);
    expect(state.sessions).toEqual([5, 6]);
    await vi.waitFor(
      async () => {
        expect((await compacted(topic)).filter((key) => /[34]}$/.test(key))).toEqual([]);
      },
      { timeout: 30_000, interval: 100 },
    );
    expect(await readControl(kafka.client, topic, never)).toEqual(state);
  });

  it('has what was proved last of each table of each graph', async () => {
    const topic = await kafka.topic(1);
    const control = await createControlWriter(kafka.client, topic, silent);
    const verified = (graph: string, table: string, lsn: string) =>
      ({ kind: 'verified', graph, table, epoch: 1, lsn, at: new Date().toISOString() }) as const;
    await control.write([
      verified('blue', 'a', '0/1'),
      verified('blue', 'b', '0/1'),
      verified('green', 'a', '0/2'),
    ]);
    await control.write([verified('blue', 'b', '0/3')]);
    await control.close();
    const state = await readControl(kafka.client, topic, never);
    const proofs = [...state.verified].flatMap(([graph, tables]) =>
      [...tables].map(([table, { lsn }]) => `${graph} ${table} ${lsn}`),
    );
    expect(proofs.sort()).toEqual(['blue a 0/1', 'blue b 0/3', 'green a 0/2']);
  });

  it('is never guessed', async () => {
    const topic = await kafka.topic(1);
    await kafka.publish([{ topic, key: 'x', value: '{"kind":"source"}' }]);
    await expect(readControl(kafka.client, topic, never)).rejects.toMatchObject({
      code: 'CONTROL_MALFORMED',
    });
    await expect(readControl(kafka.client, kafka.name('none'), never)).rejects.toMatchObject({
      code: 'KAFKA_TOPIC',
    });
    await expect(readControl(kafka.client, topic, AbortSignal.abort())).rejects.toMatchObject({
      name: 'AbortError',
    });
  });
});

describe('dead letters', () => {
  const reason = { code: 'RECORD_MALFORMED', message: 'No JSON.' };

  it('are kept by the key of the record, the latest of each, without what is too long', async () => {
    const topic = await kafka.topic(1, { 'cleanup.policy': 'compact' });
    const letters = await createDeadLetters(kafka.client, topic, silent);
    const letter = { reason, topic: 'eiq.public.entity', partition: 1, size: 3, key: '["a"]' };
    await letters.send([
      { ...letter, offset: '1', value: 'old' },
      { ...letter, key: '["b"]', offset: '2', value: 'é'.repeat(200_000), position: 'p' },
    ]);
    await letters.send([{ ...letter, offset: '3', value: 'new' }]);
    const open = async () => {
      const read = await readDeadLetters(kafka.client, topic, never);
      return [...read].sort((one, other) => (String(one.key) < String(other.key) ? -1 : 1));
    };
    const [a, b] = await open();
    expect([a, b]).toEqual([
      { ...letter, offset: '3', at: expect.any(String) as string, id: a?.id },
      { ...letter, key: '["b"]', offset: '2', position: 'p', at: expect.any(String) as string, id: b?.id },
    ]);
    expect(a?.id).toMatch(/^[0-9a-f]{12}$/);
    const written = (await kafka.log(topic)).map(
      ({ value }) => JSON.parse(String(value)) as { value?: string },
    );
    expect(written.map(({ value }) => value)).toEqual(['old', undefined, 'new']);

    await letters.settle(a === undefined ? [] : [a]);
    expect(await open()).toEqual([b]);
    await letters.send([{ ...letter, offset: '4', value: 'again' }]);
    expect(await open()).toMatchObject([{ offset: '4' }, { offset: '2' }]);
    await letters.close();
  });

  it('may be written by any publisher, as part of what it sends', async () => {
    const topic = await kafka.topic(1, { 'cleanup.policy': 'compact' });
    await kafka.publish([deadLetterRecord(topic, { reason, topic: 't', key: null, size: 1 })]);
    expect(await readDeadLetters(kafka.client, topic, never)).toMatchObject([{ key: null, reason }]);
  });
});
