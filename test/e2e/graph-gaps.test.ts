/**
 * The graph is emptied under a projector at work, and nothing is written afterwards that could show it: the projector
 * finds out by itself, and brings the graph to where the database is.
 */
import { afterEach, beforeEach, it } from 'vitest';
import { load } from '../../src/sample/load.ts';
import { createPlatform, eventually, type Platform, type Process } from '../support/platform.ts';

const FOUND_MS = 30_000;

let platform: Platform;
let replicator: Process;

beforeEach(async () => {
  platform = await createPlatform('lost');
  const client = await platform.sql.connect();
  await load(client, { seed: 3, entities: 200 });
  client.release();
  replicator = platform.start(['replicate']);
  await replicator.logged(/partitions assigned/);
  await platform.expectEqual();
});
afterEach(() => platform.dispose());

const ours = () => ({ labels: Object.values(platform.names.labels), name: platform.name });
const OURS = 'WHERE any(label IN labels(n) WHERE label IN $labels) OR n.namespace = $name';

const empty = () => platform.cypher(`MATCH (n) ${OURS} DETACH DELETE n`, ours());

const caughtUp = async () => (await platform.run(['wait', '--timeout', '1'])).code === 0;

it('emptied', async () => {
  await empty();
  await eventually('it begins again', caughtUp, FOUND_MS + 30_000);
  await platform.expectEqual();
  await replicator.stop();
});
