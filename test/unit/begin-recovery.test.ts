/** What a recovery makes durable, and in which order: it may end after each step. */
import { expect, it } from 'vitest';
import { type ControlWriter, NO_CONTROL } from '../../src/kafka/control.ts';
import type { Gap } from '../../src/pipelines/recover/gap.ts';
import { beginRecovery } from '../../src/pipelines/recover/recover.ts';
import type { Sql } from '../../src/postgres/client.ts';
import type { SlotInfo } from '../../src/postgres/slot.ts';
import { testMapping } from '../support/test-mapping.ts';

const { mapping } = testMapping('unit');
const gap: Gap = {
  previousSources: [],
  held: null,
  byWordAlone: false,
  reasons: ['the topic entity is not there any more'],
  lostTopics: ['entity'],
  ranges: [],
  source: { systemIdentifier: '7000', timeline: 1, database: 'platform' } as Gap['source'],
  slot: {} as SlotInfo,
  control: NO_CONTROL,
  emptying: false,
  next: { epoch: 4, session: 6 },
};

async function begun(failing: string | null) {
  const steps: string[] = [];
  const step = (name: string) => {
    if (name === failing) return Promise.reject(new Error(`no ${name}`));
    steps.push(name);
    return Promise.resolve();
  };
  const control: Pick<ControlWriter, 'write' | 'forgetTopics'> = {
    write: (records) => step(records.map(({ kind }) => kind).join()),
    forgetTopics: (topics) => step(`forget ${topics.join()}`),
  };
  const sql: Sql = { query: () => step('drop the slot').then(() => []) };
  const beginning = beginRecovery({ sql, mapping, control: control as ControlWriter }, gap);
  await (failing === null
    ? expect(beginning).resolves.toBe(4)
    : expect(beginning).rejects.toThrow(`no ${failing}`));
  return steps;
}

it('a lost topic is a gap until the recovery is recorded', async () => {
  const all = ['drop the slot', 'recovery,source', 'forget entity'];
  expect(await begun(null)).toEqual(all);
  for (const [done, failing] of all.entries()) expect(await begun(failing)).toEqual(all.slice(0, done));
});
