/** `graph dead-letters`: records that could not be applied, listed, asked for again, or discarded. */
import { randomUUID } from 'node:crypto';
import { AppError } from '../core/errors.ts';
import { createDeadLetters, type OpenLetter, readDeadLetters } from '../kafka/dead-letters.ts';
import { createKafka } from '../kafka/client.ts';
import { redrive } from '../pipelines/redrive.ts';
import { requireOwnGraph } from '../pipelines/same-source.ts';
import { byRequest } from '../pipelines/reconcile/ask.ts';
import { reached } from '../pipelines/reconcile/confirm.ts';
import { waitForAnswers, waitForGraph } from '../pipelines/wait.ts';
import { enabledGraphContext, type GraphContext } from './graph-context.ts';
import { SERVERS, waitSources, withServers } from './graph-reports.ts';

const READ_TIMEOUT_MS = 30_000;

/** Keys are shown, the values of rows are not. */
export async function listDeadLetters(json: boolean): Promise<void> {
  const letters = await openLetters(enabledGraphContext('dead-letters', ['KAFKA_BROKERS']));
  if (json) process.stdout.write(`${JSON.stringify(letters, null, 2)}\n`);
  else for (const letter of letters) process.stdout.write(`${describe(letter)}\n`);
}

/** Exit 0 if all of them are settled, else 1. */
export async function redriveDeadLetters(ids: readonly string[], timeoutMs: number): Promise<void> {
  const context = enabledGraphContext('dead-letters', SERVERS);
  const { signal } = new AbortController();
  const letters = chosen(await openLetters(context), ids);
  const { settled, failedAgain, unnamed } = await withServers(context, async (servers) => {
    await requireOwnGraph(servers, context.mapping, signal);
    const waiting = waitSources(servers, context);
    const caughtUp = async (withinMs: number) => {
      await waitForGraph(waiting, withinMs, signal);
    };
    const pace = async () => {
      await reached({ caughtUp }, performance.now() + timeoutMs);
    };
    return settling(context, (settle) =>
      redrive(
        {
          mapping: context.mapping,
          letters,
          ask: byRequest(servers.sql, randomUUID(), pace, 'redrive'),
          caughtUp: () => waitForAnswers(waiting, timeoutMs, signal),
          openLetters: () => openLetters(context),
          settle,
        },
        signal,
      ),
    );
  });
  process.stdout.write(`${settled.length} redriven, ${failedAgain.length} failed again\n`);
  for (const letter of unnamed)
    process.stderr.write(
      `No row has the key of ${describe(letter)}; discard it once you know who wrote it.\n`,
    );
  if (failedAgain.length + unnamed.length > 0) process.exitCode = 1;
}

export async function discardDeadLetters(ids: readonly string[]): Promise<void> {
  const context = enabledGraphContext('dead-letters', ['KAFKA_BROKERS']);
  const letters = chosen(await openLetters(context), ids);
  await settling(context, (settle) => settle(letters));
  process.stdout.write(`${letters.length} discarded\n`);
}

async function settling<T>(
  { kafka, log, mapping }: GraphContext,
  use: (settle: (letters: readonly OpenLetter[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  const deadLetters = await createDeadLetters(createKafka(kafka, log), mapping.deadLetterTopic, log);
  return use(deadLetters.settle).finally(() => deadLetters.close());
}

function openLetters({ kafka, log, mapping }: GraphContext): Promise<readonly OpenLetter[]> {
  return readDeadLetters(
    createKafka(kafka, log),
    mapping.deadLetterTopic,
    AbortSignal.timeout(READ_TIMEOUT_MS),
  );
}

/** All if no id is given. */
function chosen(letters: readonly OpenLetter[], ids: readonly string[]): readonly OpenLetter[] {
  const unknown = ids.filter((id) => !letters.some((letter) => letter.id === id));
  if (unknown.length > 0)
    throw new AppError('USAGE', `--id ${unknown.join(', ')}: there is no such dead letter.`);
  return ids.length === 0 ? letters : letters.filter(({ id }) => ids.includes(id));
}

function describe({ id, at, topic, key, size, reason }: OpenLetter): string {
  return `${id}  ${at}  ${topic}  ${key ?? '(no key)'}  ${size} bytes  ${reason.code}: ${reason.message}`;
}
