/** The stream against a real server that waits, falls silent, is cut off or sends nonsense. */
import { setTimeout as elapsed } from 'node:timers/promises';
import { describe, expect, it, type TestContext } from 'vitest';
import { isAppError, type ErrorCode } from '../../src/core/errors.ts';
import { lsn, type Lsn, parseLsn } from '../../src/core/lsn.ts';
import { emitMessage } from '../../src/postgres/messages.ts';
import { inspectSlot } from '../../src/postgres/slot.ts';
import { openStream, type ReplicationStream, type StreamEvent } from '../../src/postgres/stream.ts';
import { createTransactions } from '../../src/postgres/transactions.ts';
import { eventually } from '../support/platform.ts';
import { createSource, readMessages, type Source } from '../support/postgres-source.ts';
import { createProxy } from '../support/tcp-proxy.ts';

const TIMEOUT_MS = 2000;
const SHORT = { wal_sender_timeout: `${TIMEOUT_MS}ms` };
const ITEMS = `create table item (id int primary key, note text); alter table item replica identity full`;

const code = (wanted: ErrorCode) => expect.toSatisfy((error: unknown) => isAppError(error, wanted)) as Error;

/** A source that goes when its test is over. */
async function own(onTestFinished: TestContext['onTestFinished']): Promise<Source> {
  const source = await createSource('stream', ITEMS);
  onTestFinished(() => source.dispose());
  return source;
}

/** Reads to the end, which is a failure or the reader's being told that it is done. */
async function drain(reader: AsyncIterator<readonly StreamEvent[]>): Promise<void> {
  while ((await reader.next()).done !== true);
}

async function readCommit(stream: ReplicationStream): Promise<Lsn> {
  const messages = await readMessages(stream, (all) => all.at(-1)?.kind === 'commit');
  const commit = messages.at(-1);
  return commit?.kind === 'commit' ? commit.endLsn : expect.unreachable();
}

/** The flushed positions of all standby status updates among what was sent: CopyData of 38 bytes, `r`, written, flushed. */
function flushedPositions(sent: Buffer): bigint[] {
  const positions: bigint[] = [];
  const start = Buffer.from('d\0\0\0\x26r', 'latin1');
  for (let at = sent.indexOf(start); at !== -1; at = sent.indexOf(start, at + 1)) {
    positions.push(sent.readBigUInt64BE(at + start.length + 8));
  }
  return positions;
}

describe.concurrent('the stream', () => {
  it('keeps its connection and the slot’s place while nobody reads for three timeouts', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const stream = await source.open({ highWaterBytes: 100_000 }, SHORT);
    const before = await source.confirmedFlush();
    await source.client.query(
      `insert into item select i, repeat('x', 1000) from generate_series(1, 20000) i`,
    );
    await elapsed(3 * TIMEOUT_MS);
    expect(await source.walsenders()).toBe(1);
    expect(stream.heardAgoMs()).toBeGreaterThan(2 * TIMEOUT_MS); // its answers wait behind the rows
    await stream.confirm(source.database);
    expect(stream.heardAgoMs()).toBeLessThan(TIMEOUT_MS / 2);

    const rows = await readMessages(stream, (messages) => messages.at(-1)?.kind === 'commit');
    expect(rows.filter(({ kind }) => kind === 'insert')).toHaveLength(20_000);
    expect(await source.confirmedFlush()).toBe(before);
    await stream.close();
  });

  it('acknowledges nothing by itself, however long everything has been read', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    const stream = await source.open({}, SHORT);
    const before = await source.confirmedFlush();
    await source.client.query(`insert into item values (1)`);
    const read = readMessages(stream, () => false).catch(() => undefined);
    await elapsed(3 * TIMEOUT_MS);
    expect(await source.walsenders()).toBe(1);
    expect(stream.walSenderTimeoutMs).toBe(TIMEOUT_MS);
    expect(stream.heardAgoMs()).toBeLessThan(TIMEOUT_MS); // it is asked to answer
    expect(await source.confirmedFlush()).toBe(before);
    await stream.close();
    await read;
    expect(await source.confirmedFlush()).toBe(before);
  });

  it('finds a server that has fallen silent within two timeouts, and still closes', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const proxy = await createProxy(source.url);
    const stream = await source.open({ connectionString: proxy.url }, SHORT);
    const read = readMessages(stream, () => false);
    const silentSince = performance.now();
    proxy.silence();
    await expect(read).rejects.toThrow(code('STREAM_LOST'));
    expect(performance.now() - silentSince).toBeLessThan(2 * TIMEOUT_MS);
    expect(performance.now() - silentSince).toBeGreaterThan(TIMEOUT_MS / 2);
    await stream.close();
    await proxy.close();
  });

  it('finds out that the slot was taken over while it was not reading', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    const proxy = await createProxy(source.url);
    await source.client.query(`insert into item values (1)`);
    const stream = await source.open({ connectionString: proxy.url, highWaterBytes: 1 }, SHORT);
    await eventually('it is not reading', () => Promise.resolve(stream.heardAgoMs() > TIMEOUT_MS * 0.6));
    proxy.silence();
    await eventually('PostgreSQL has given the connection up', async () => (await source.walsenders()) === 0);
    const successor = await source.open();
    await expect(stream.confirm(source.database)).rejects.toThrow(code('STREAM_LOST'));
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toThrow(code('STREAM_LOST'));
    await successor.confirm(source.database);
    await successor.close();
    await stream.close();
    await proxy.close();
  });

  it('stops at the first failure: nothing more is handed out, nothing more acknowledged', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    // In flight the letter of a text cell becomes one that there is not.
    const proxy = await createProxy(source.url, {
      fromServer(bytes) {
        const at = bytes.indexOf('damage me');
        if (at !== -1) bytes.writeUInt8(0x78, at - 5);
        return bytes;
      },
    });
    const stream = await source.open({ connectionString: proxy.url });
    await source.client.query(`insert into item values (1, 'sound')`);
    const reader = stream[Symbol.asyncIterator]();
    await readCommit(stream);
    const before = await source.confirmedFlush();
    await source.client.query(`insert into item values (2, 'before'), (3, 'damage me'), (4, 'after')`);
    await source.client.query(`insert into item values (5, 'later')`);
    await expect(drain(reader)).rejects.toThrow(code('STREAM_PROTOCOL'));
    await expect(reader.next()).rejects.toThrow(code('STREAM_PROTOCOL'));
    stream.acknowledge(parseLsn('F/0'));
    await stream.close();
    expect(await source.confirmedFlush()).toBe(before);
    await proxy.close();

    const again = await source.open();
    const messages = await readMessages(
      again,
      (all) => all.filter(({ kind }) => kind === 'commit').length === 3,
    );
    expect(messages.flatMap((m) => (m.kind === 'insert' ? [m.after[0]] : []))).toEqual([
      '1',
      '2',
      '3',
      '4',
      '5',
    ]);
    await again.close();
  });

  it('is lost, to be opened again, when PostgreSQL ends it', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    const stream = await source.open();
    await source.client.query(`insert into item values (1)`);
    await source.client.query(`select pg_terminate_backend($1, 5000)`, [stream.backendPid]);
    await expect(drain(stream[Symbol.asyncIterator]())).rejects.toThrow(
      expect.toSatisfy((error) => isAppError(error) && error.disposition === 'retry') as Error,
    );
    await stream.close();
    const again = await source.open();
    const messages = await readMessages(again, (all) => all.at(-1)?.kind === 'commit');
    expect(messages.map(({ kind }) => kind)).toEqual(['begin', 'relation', 'insert', 'commit']);
    await again.close();
  });

  it('gives the slot back when closed, with what was acknowledged last', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    const stream = await source.open();
    await expect(source.open()).rejects.toThrow(code('SLOT_ACTIVE'));
    await source.client.query(`insert into item values (1)`);
    const end = await readCommit(stream);
    stream.acknowledge(end);
    const closing = performance.now();
    await stream.close();
    expect(performance.now() - closing).toBeLessThan(1000); // it did not have to give up waiting
    expect(await inspectSlot(source.database, source.name)).toMatchObject({
      activePid: null,
      confirmedFlush: end,
    });
    const successor = await source.open();
    await successor.close();
  });

  it('acknowledges exactly what it is given, and never takes it back', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    let sent = Buffer.alloc(0);
    const proxy = await createProxy(source.url, {
      fromClient(bytes) {
        sent = Buffer.concat([sent, bytes]);
        return bytes;
      },
    });
    const stream = await source.open({ connectionString: proxy.url });
    const marker = await emitMessage(source.database, 'graph.marker', '{}');
    const end = await readCommit(stream);
    expect(end).toBeGreaterThanOrEqual(marker); // what `wait` waits for
    stream.acknowledge(end);
    stream.acknowledge(lsn(marker - 1n));
    await stream.close();
    await proxy.close();
    expect(parseLsn(await source.confirmedFlush())).toBe(end);
    expect([...new Set(flushedPositions(sent))]).toEqual([0n, end]);
  });

  it('hears from PostgreSQL on an idle database with everything acknowledged', async ({ onTestFinished }) => {
    const source = await own(onTestFinished);
    const stream = await source.open({}, SHORT);
    const reader = stream[Symbol.asyncIterator]();
    const read = (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) {
        for (const event of next.value) if (event.type === 'keepalive') stream.acknowledge(event.walEnd);
      }
    })();
    await elapsed(2.5 * TIMEOUT_MS);
    expect(stream.heardAgoMs()).toBeLessThan(TIMEOUT_MS);
    await stream.close();
    await read;
  });

  it('passes messages in line with the changes, and skips the ones outside of transactions', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const stream = await source.open();
    await source.client.query(`select pg_logical_emit_message(false, 'graph.marker', 'skipped')`);
    await source.client.query(
      `begin; insert into item values (1); select pg_logical_emit_message(true, 'graph.marker', 'Ω');
       insert into item values (2); truncate item; commit`,
    );
    const transactions = createTransactions({ epoch: 1, isMapped: () => true });
    const seen: unknown[] = [];
    for await (const events of stream) {
      for (const event of events) {
        const output = transactions.push(event);
        if (output === null || output.op === 'idle') continue;
        seen.push(
          output.op === 'm' ? output.content.toString() : output.op === 'c' ? output.after : output.op,
        );
      }
      if (seen.at(-1) === 'commit') break;
    }
    expect(seen).toEqual([['1', null], 'Ω', ['2', null], 't', 'commit']);
    expect(transactions.skippedMessages).toBe(1);
    await stream.close();
  });

  it('follows the catalogue: columns and replica identity changed in mid-stream', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const stream = await source.open();
    await source.client.query(
      `insert into item values (1, 'a');
       alter table item replica identity default; update item set note = 'b';
       alter table item add column more int default 7; update item set id = 2;
       alter table item drop column note; alter table item replica identity full; update item set more = 8;
       delete from item`,
    );
    const messages = await readMessages(stream, (all) => all.some(({ kind }) => kind === 'delete'));
    expect(
      messages.flatMap((m) =>
        m.kind === 'update' || m.kind === 'delete' ? [[m.before, m.relation.columns.length]] : [],
      ),
    ).toEqual([
      [null, 2],
      [['1', null, null], 3],
      [['2', '7'], 2],
      [['2', '8'], 2],
    ]);
    await stream.close();
  });

  it('announces each partition right behind its table, with the replica identity that its rows are written with', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const stream = await source.open();
    await source.client.query(
      `alter publication ${source.name} set (publish_via_partition_root = true);
       create table parted (id int primary key, note text, code int not null) partition by range (id);
       create table low partition of parted for values from (0) to (10);
       create table high partition of parted for values from (10) to (20);
       create unique index high_code on high (code);
       alter table parted replica identity full; alter table low replica identity full;
       alter table high replica identity using index high_code;
       insert into parted values (1, 'a', 1), (11, 'b', 2);
       update parted set id = id + 1; delete from parted`,
    );
    const messages = await readMessages(
      stream,
      (all) => all.filter(({ kind }) => kind === 'delete').length === 2,
    );
    expect(
      messages.flatMap<unknown>((m) => {
        if (m.kind === 'relation') return [`${m.relation.name} ${m.relation.replicaIdentity}`];
        if (m.kind === 'insert') return [`${m.relation.name} c`];
        return m.kind === 'update' || m.kind === 'delete' ? [[m.relation.name, m.before]] : [];
      }),
    ).toEqual([
      ...['parted f', 'low f', 'parted c', 'parted f', 'high i', 'parted c'],
      ['parted', ['1', 'a', '1']],
      ['parted', null],
      ['parted', ['2', 'a', '1']],
      ['parted', [null, null, '2']],
    ]);
    await stream.close();
  });

  it.each<[string, Partial<Record<'slot' | 'publication', string>>, ErrorCode]>([
    ['a slot that does not exist', { slot: 'no_such_slot' }, 'POSTGRES_SLOT_INVALID'],
    ['a slot name that is none', { slot: 'no"slot' }, 'POSTGRES_FAILED'],
  ])('refuses %s', async (_, options, expected) => {
    const source = await createSource('stream', ITEMS);
    await expect(source.open(options)).rejects.toThrow(code(expected));
    await source.dispose();
  });

  it('ends its opening and its reading with the signal, and acknowledges until closed', async ({
    onTestFinished,
  }) => {
    const source = await own(onTestFinished);
    const options = { connectionString: source.url, slot: source.name, publication: source.name };
    const early = new AbortController();
    const opening = openStream(options, early.signal);
    early.abort();
    await expect(opening).rejects.toThrow(early.signal.reason as Error);
    await expect(openStream(options, AbortSignal.abort('no'))).rejects.toBe('no');

    const controller = new AbortController();
    const stream = await openStream(options, controller.signal);
    await source.client.query(`insert into item values (1)`);
    const end = await readCommit(stream);
    const next = stream[Symbol.asyncIterator]().next();
    controller.abort();
    await expect(next).resolves.toMatchObject({ done: true });
    stream.acknowledge(end);
    await stream.close();
    expect(parseLsn(await source.confirmedFlush())).toBe(end);
  });
});
