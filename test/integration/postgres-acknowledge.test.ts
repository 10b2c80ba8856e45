/**
 * What PostgreSQL forgets, on the real server. Each rule was taken out once to see its test fail; how often is beside
 * the test. `SOAK=1` runs the full number of trials.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Lsn, parseLsn } from '../../src/core/lsn.ts';
import type { ReplicationStream } from '../../src/postgres/stream.ts';
import { createTransactions } from '../../src/postgres/transactions.ts';
import { eventually } from '../support/platform.ts';
import { connect, createSource, type Source } from '../support/postgres-source.ts';
import { soak } from '../support/soak.ts';

let source: Source;
beforeAll(async () => {
  source = await createSource('acknowledge', 'create table item (id int primary key)');
});
afterAll(() => source.dispose());

interface Committed {
  readonly ids: readonly string[];
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
}

/** Transactions as they come; an idle position between them is handed to `onIdle`. */
async function* committed(
  stream: ReplicationStream,
  onIdle: (lsn: Lsn) => void = () => undefined,
): AsyncGenerator<Committed, undefined> {
  const transactions = createTransactions({ epoch: 1, isMapped: () => true });
  let ids: string[] = [];
  for await (const events of stream) {
    for (const event of events) {
      const output = transactions.push(event);
      if (output?.op === 'idle') onIdle(output.lsn);
      if (output?.op === 'c') ids.push(String(output.after?.[0]));
      if (output?.op === 'commit') {
        const { endLsn, transaction } = output;
        yield { ids, commitLsn: transaction.commitLsn, endLsn };
        ids = [];
      }
    }
  }
}

async function acknowledgeAndWait(stream: ReplicationStream, lsn: Lsn): Promise<void> {
  stream.acknowledge(lsn);
  await eventually('the slot is confirmed', async () => parseLsn(await source.confirmedFlush()) >= lsn);
}

/** Without it PostgreSQL would read again, at each opening, all that other tests have written since. */
async function logRunningTransactions(): Promise<void> {
  await source.client.query(`select pg_log_standby_snapshot()`);
}

/** As kill -9 of this process would: nothing more is sent. */
async function killStream(stream: ReplicationStream): Promise<void> {
  await source.client.query(`select pg_terminate_backend($1, 5000)`, [stream.backendPid]);
  await stream.close();
}

describe('acknowledging', () => {
  it(
    'loses no transaction whose commit record starts where the acknowledged one ends',
    { timeout: soak ? 1_800_000 : 120_000 },
    async () => {
      const trials = soak ? 1000 : 100;
      const sessions = await Promise.all(Array.from({ length: 11 }, () => connect(source.url)));
      let adjacent = 0;
      let id = 0;
      while (adjacent < trials) {
        await logRunningTransactions();
        // Rows first, then all commits at once, so that commit records follow each other; then one more, to know the end.
        const ids = sessions.map(() => String(id++));
        for (const [i, session] of sessions.entries()) {
          await session.query(`begin; insert into item values (${ids[i] ?? ''})`);
        }
        await Promise.all(sessions.map((session) => session.query('commit')));
        const end = String(id++);
        await source.client.query(`insert into item values (${end})`);

        const received: string[] = [];
        let last: Committed | undefined;
        while (received.at(-1) !== end) {
          const stream = await source.open();
          const { value: first } = await committed(stream).next();
          received.push(...(first?.ids ?? []));
          if (first?.commitLsn === last?.endLsn) adjacent += 1;
          last = first;
          await acknowledgeAndWait(stream, first?.endLsn as Lsn);
          await killStream(stream);
        }
        const lost = ids.filter((each) => !received.includes(each));
        expect(lost, `${adjacent} adjacent commits were not lost`).toEqual([]);
      }
      await Promise.all(sessions.map((session) => session.end()));
    },
  );

  it(
    'loses no transaction whose commit record starts at an acknowledged idle position',
    { timeout: soak ? 1_800_000 : 120_000 },
    async () => {
      const trials = soak ? 200 : 20;
      const [writer, other] = [await connect(source.url), await connect(source.url)];
      let adjacent = 0;
      let id = 1_000_000;
      while (adjacent < trials) {
        await logRunningTransactions();
        await writer.query(`begin; insert into item values (${id})`);
        // Flushed by another, the row is read and passed: PostgreSQL is idle behind it.
        const { rows } = await other.query<{ lsn: string }>(
          `select pg_logical_emit_message(false, 'flush', '', true) as lsn`,
        );
        const passed = parseLsn(rows[0]?.lsn ?? '');
        const stream = await source.open();
        const idle = await new Promise<Lsn>((resolve, reject) => {
          committed(stream, (lsn) => {
            if (lsn >= passed) resolve(lsn);
          })
            .next()
            .catch(reject);
        });
        await acknowledgeAndWait(stream, idle);
        await writer.query('commit');
        await killStream(stream);
        await source.client.query(`insert into item values (${-id})`); // comes first if that one is lost

        const again = await source.open();
        const transactions = committed(again);
        const [{ value: first }, { value: second }] = [await transactions.next(), await transactions.next()];
        expect([first?.ids, second?.ids]).toEqual([[String(id)], [String(-id)]]);
        if (first?.commitLsn === idle) adjacent += 1;
        await acknowledgeAndWait(again, second?.endLsn as Lsn);
        await again.close();
        id += 1;
      }
      await writer.end();
      await other.end();
    },
  );
});
