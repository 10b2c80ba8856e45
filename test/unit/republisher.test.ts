/** When what was read before its turn may be published (I4), and what comes a second time. */
import { describe, expect, it } from 'vitest';
import type { MessageChange } from '../../src/core/change.ts';
import { formatLsn, lsn } from '../../src/core/lsn.ts';
import { REPUBLISH_PREFIX } from '../../src/core/messages.ts';
import { position } from '../../src/core/position.ts';
import { parseSnapshot } from '../../src/core/snapshots.ts';
import { NO_CONTROL } from '../../src/kafka/control.ts';
import { createRepublisher } from '../../src/pipelines/publish/republisher.ts';
import { createVisibility } from '../../src/pipelines/publish/visibility.ts';
import type { Sql } from '../../src/postgres/client.ts';
import type { RowReader, RowsRead } from '../../src/postgres/rows.ts';
import { createLog } from '../../src/runtime/log.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping, table } = testMapping('republisher');
const uuid = (n: number) => `0a000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const never = new AbortController().signal;
const RANGE = { table: 'public.entity', range: { after: null, upTo: null }, runId: 'r', reason: '' };

function request(what: object, ownLsn = 0x1000, xid = 20): MessageChange {
  const at = lsn(BigInt(ownLsn));
  return {
    op: 'm',
    prefix: REPUBLISH_PREFIX,
    content: Buffer.from(JSON.stringify({ v: 1, ...RANGE, ...what })),
    position: position(1, at, at),
    ownLsn: at,
    transaction: { xid, commitLsn: at, commitTimeMicros: 0n },
  };
}

interface Subject {
  readonly snapshots: readonly string[];
  readonly rows?: number;
  readonly more?: boolean;
}

/** `snapshots`: of the readings of rows, in turn. `looks`: what a snapshot that is asked for apart sees. */
async function subject({ snapshots, rows = 1, more = false }: Subject) {
  const emitted: string[] = [];
  const asked: string[] = [];
  const state = { looks: '10:10:', read: 0, emissions: [] as Promise<string>[] };
  const sql: Sql = {
    async query<Row extends object>(text: string, values: readonly unknown[] = []) {
      const emits = text.includes('pg_logical_emit_message');
      if (emits) emitted.push(String(values[1]));
      const at = (emits ? await state.emissions.shift() : undefined) ?? '0/2000';
      const witness = {
        snapshot: state.looks,
        in_recovery: false,
        system_identifier: '1',
        timeline: '00000001',
        insert_lsn: '0/3000',
      };
      return [{ ...witness, lsn: at }] as unknown as readonly Row[];
    },
  };
  const read = (): Promise<RowsRead> => {
    const snapshot = parseSnapshot(snapshots[state.read] ?? snapshots.at(-1) ?? '');
    state.read += 1;
    const columns = [...table('public.entity').columns.keys()];
    const tuple = (n: number) => columns.map((name) => (name === 'id' ? uuid(n) : null));
    return Promise.resolve({
      witness: { systemIdentifier: '1', timeline: 1, inRecovery: false, snapshot, insertLsn: lsn(0x3000n) },
      relation: {
        oid: 0,
        schema: 'public',
        name: 'entity',
        replicaIdentity: 'f',
        columns: columns.map((name) => ({ name, typeOid: 25, typeModifier: -1, identity: true })),
      },
      rows: Array.from({ length: rows }, (_, i) => tuple(i)),
      keys: Array.from({ length: rows }, (_, i) => [uuid(i)]),
      versions: [],
      more,
    });
  };
  const reader: Pick<RowReader, 'keys' | 'range'> = { keys: read, range: read };
  const observed = {
    systemIdentifier: '1',
    timeline: 1,
    database: '',
    currentLsn: lsn(0n),
    recordedTimelineEnd: null,
    slot: null,
    published: {},
  };
  const visibility = await createVisibility(sql, { state: NO_CONTROL, observed }, never);
  const published: number[] = [];
  const republisher = createRepublisher({
    mapping,
    sql,
    rows: reader,
    visibility,
    encoder: {
      announced: () => undefined,
      encode: () => {
        published.push(state.read);
        return [];
      },
      absent: () => {
        throw new Error('nothing is absent');
      },
    },
    onAnswered: () => undefined,
    onRefused: () => 1,
    onAskedAgain: (lsn) => asked.push(formatLsn(lsn)),
    log: createLog('silent', 'test'),
  });
  return { republisher, visibility, emitted, asked, published, state };
}

describe('what was read before its turn', () => {
  it('is published if it has seen all that was received until then', async () => {
    const { republisher, visibility, published, state } = await subject({ snapshots: ['21:21:'] });
    const message = request({});
    republisher.prepare(message, never);
    visibility.received(19);
    await republisher.answer(message, never);
    expect({ published, reads: state.read }).toEqual({ published: [1], reads: 1 });
  });

  it('is read again if it has not, even where another snapshot has seen it since', async () => {
    const { republisher, visibility, published, state } = await subject({
      snapshots: ['15:21:15', '21:21:'],
    });
    const message = request({});
    republisher.prepare(message, never);
    visibility.received(15);
    state.looks = '21:21:';
    const stop = new AbortController();
    const watching = visibility.watch(stop.signal);
    await expect.poll(() => visibility.recorded(), { timeout: 5_000 }).toEqual([]);
    stop.abort();
    await watching;
    await republisher.answer(message, never);
    expect({ published, reads: state.read }).toEqual({ published: [2], reads: 2 });
  });

  it('is read again if it has not seen the transaction of its own request', async () => {
    const { republisher, published, state } = await subject({ snapshots: ['20:20:', '21:21:'] });
    const message = request({});
    republisher.prepare(message, never);
    await republisher.answer(message, never);
    expect({ published, reads: state.read }).toEqual({ published: [2], reads: 2 });
  });
});

describe('the rest of a request', () => {
  it('says where the request stood, through all its pieces, and is passed over when it comes twice', async () => {
    const { republisher, emitted, state } = await subject({ snapshots: ['99:99:'], rows: 1000, more: true });
    const origin = formatLsn(lsn(0x1000n));
    const first = await republisher.answer(request({}), never);
    expect(first.records).toEqual([]);
    await first.again?.emit();
    const rest = { origin, range: { after: [uuid(999)], upTo: null } };
    expect(emitted.map((text) => JSON.parse(text) as object)).toEqual([{ v: 1, ...RANGE, ...rest }]);
    const second = await republisher.answer(request(rest, 0x1100, 21), never);
    await second.again?.emit();
    expect(JSON.parse(emitted[1] ?? '')).toMatchObject({ origin });
    const reads = state.read;
    expect(await republisher.answer(request(rest, 0x1200, 22), never)).toMatchObject({
      records: [],
      again: null,
    });
    expect(state.read).toBe(reads);
  });

  it('counts as asked for up to the last of all, whichever is heard of last', async () => {
    const { republisher, asked, state } = await subject({ snapshots: ['99:99:'], rows: 1000, more: true });
    const first = await republisher.answer(request({}), never);
    const second = await republisher.answer(request({}, 0x1100, 21), never);
    let hear: (lsn: string) => void = () => undefined;
    state.emissions.push(new Promise((resolve) => (hear = resolve)), Promise.resolve('0/5000'));
    const early = first.again?.emit();
    await second.again?.emit();
    hear('0/4000');
    await early;
    expect(asked.at(-1)).toBe('0/5000');
  });

  it('of another request, and the same request when it is made again, are answered', async () => {
    const { republisher, published } = await subject({ snapshots: ['99:99:'] });
    await republisher.answer(request({ origin: '0/1' }), never);
    await republisher.answer(request({ origin: '0/2' }), never);
    await republisher.answer(request({}), never);
    await republisher.answer(request({}), never);
    expect(published).toHaveLength(4);
  });
});
