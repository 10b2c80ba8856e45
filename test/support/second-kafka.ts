/** Another Kafka than the one that the tests of a run share: it may be killed, and lose what it had not yet on disk. */
import { readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { shortLived } from '../../src/stack/java-flags.ts';
import { kafkaPlan } from '../../src/stack/kafka.ts';
import { freePorts, LOOPBACK } from '../../src/stack/ports.ts';
import { claimFolder } from '../../src/stack/registry.ts';
import { Server } from '../../src/stack/server.ts';
import { installSoftware } from '../../src/stack/software.ts';

export interface SecondKafka {
  readonly brokers: string;
  /** How long the logs of the topic's partitions are. Each has one segment. */
  readonly lengths: (topic: string) => Promise<Lengths>;
  /** As when the power fails: what was written since is gone, whoever was told that it is there. It is up again then. */
  readonly lose: (since: Lengths) => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** By log file, in bytes. */
export type Lengths = ReadonlyMap<string, number>;

const LOG = '00000000000000000000.log';

export async function startSecondKafka(): Promise<SecondKafka> {
  const software = await installSoftware(undefined, () => undefined, AbortSignal.timeout(120_000));
  const folder = await claimFolder(undefined, true);
  const [port = 0, controllerPort = 0] = await freePorts(2);
  const dir = join(folder.dir, 'kafka');
  const logFile = join(folder.dir, 'kafka.log');
  const program = shortLived(software.kafka);
  const server = new Server(kafkaPlan({ program, dir, logFile, port, controllerPort }), {
    spawned: (name, pid) => {
      folder.record(name, pid);
    },
    ended: (name) => {
      folder.record(name);
    },
  });
  await server.start();
  return {
    brokers: `${LOOPBACK}:${port}`,
    async lengths(topic) {
      const partitions = (await readdir(join(dir, 'data'))).filter((name) => name.startsWith(`${topic}-`));
      const logs = partitions.map((name) => join(dir, 'data', name, LOG));
      return new Map(await Promise.all(logs.map(async (log) => [log, (await stat(log)).size] as const)));
    },
    async lose(since) {
      await server.stop('kill');
      for (const [log, length] of since) {
        await truncate(log, length);
        // Made again from the log.
        const partition = join(log, '..');
        for (const name of await readdir(partition))
          if (/\.(index|timeindex|snapshot)$/.test(name)) await rm(join(partition, name));
      }
      await server.start();
    },
    async stop() {
      await server.stop('immediate');
      await folder.release({ keepLogs: false });
    },
  };
}
