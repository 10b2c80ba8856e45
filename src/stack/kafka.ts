/** Kafka 4.3.1 as the stack runs it: one node that is broker and controller (KRaft). */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import { AppError } from '../core/errors.ts';
import type { JavaProgram } from './class-archive.ts';
import { exists } from './files.ts';
import { LOOPBACK } from './ports.ts';
import type { ServerPlan } from './server.ts';

const MESSAGE_MAX_BYTES = 20 * 1024 * 1024;
const PROBE_TIMEOUT_MS = 5_000;

const LOGGING = `
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
logger.server.name = kafka.server
logger.server.level = info
`;

function properties(options: { data: string; port: number; controllerPort: number }): string {
  const { data, port, controllerPort } = options;
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@${LOOPBACK}:${controllerPort}`,
    listeners: `PLAINTEXT://${LOOPBACK}:${port},CONTROLLER://${LOOPBACK}:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://${LOOPBACK}:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': data,
    'auto.create.topics.enable': false,
    'message.max.bytes': MESSAGE_MAX_BYTES,
    'replica.fetch.max.bytes': MESSAGE_MAX_BYTES,

    // One node: nothing to replicate to, and few partitions to open for the internal topics.
    'default.replication.factor': 1,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,

    // Groups form at once, and a killed member is noticed after a second rather than six.
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1_000,

    // After a kill, the controller lets the broker in again once its last session has run out: 4 s rather than 9.
    'broker.session.timeout.ms': 4_000,
    'broker.heartbeat.interval.ms': 500,

    // Compaction soon after a segment closes rather than after 15 s, in little memory.
    'log.cleaner.backoff.ms': 500,
    'log.cleaner.dedupe.buffer.size': 32 * 1024 * 1024,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

export function kafkaPlan(options: {
  program: JavaProgram;
  dir: string;
  logFile: string;
  port: number;
  controllerPort: number;
}): ServerPlan {
  const { program, dir, logFile, port, controllerPort } = options;
  const config = path.join(dir, 'server.properties');
  const logging = path.join(dir, 'log4j2.properties');
  const data = path.join(dir, 'data');
  const java = ['-cp', path.join(program.jars, '*'), `-Dlog4j2.configurationFile=${logging}`];
  return {
    name: 'kafka',
    port,
    command: ['java', '-Xms256m', '-Xmx768m', ...program.flags, ...java, 'kafka.Kafka', config],
    logFile,
    signals: { fast: 'SIGTERM', immediate: 'SIGKILL', kill: 'SIGKILL' },

    async prepare(signal) {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      await writeFile(logging, LOGGING);
      await writeFile(config, properties({ data, port, controllerPort }));
      if (await exists(path.join(data, 'meta.properties'))) return;
      const clusterId = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
      await promisify(execFile)(
        'java',
        [
          '-XX:TieredStopAtLevel=1',
          ...java,
          'kafka.tools.StorageTool',
          'format',
          `--cluster-id=${clusterId}`, // one word: the id may begin with a dash
          '-c',
          config,
        ],
        { signal },
      ).catch(async (cause: unknown) => {
        signal.throwIfAborted();
        await appendFile(logFile, String((cause as { stderr?: unknown }).stderr));
        throw new AppError('STACK_FAILED', `Kafka's storage could not be formatted; its log is ${logFile}.`, {
          cause,
        });
      });
    },

    async probe() {
      const admin = new Kafka({
        brokers: [`${LOOPBACK}:${port}`],
        logLevel: logLevel.NOTHING,
        connectionTimeout: PROBE_TIMEOUT_MS,
        requestTimeout: PROBE_TIMEOUT_MS,
        retry: { retries: 0 },
      }).admin();
      try {
        await admin.connect();
        await admin.describeCluster();
      } finally {
        await admin.disconnect();
      }
    },
  };
}
