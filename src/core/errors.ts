/**
 * The one error type, and the catalogue of what can go wrong: for each code what to do with it and what to tell the
 * operator. Library errors are wrapped once, in the adapter that owns the library. What is not recognised is fatal.
 *
 * Messages and contexts name tables, columns, topics and positions; never cell values, never secrets.
 */
export type Disposition = 'retry' | 'dead-letter' | 'fatal';

interface Entry {
  readonly disposition: Disposition;
  /** What the operator does about it. */
  readonly remedy: string;
}

export const CATALOGUE = {
  CONFIG_INVALID: {
    disposition: 'fatal',
    remedy: 'Correct the named setting or connector file and start again.',
  },
  USAGE: { disposition: 'fatal', remedy: 'See --help.' },
  GRAPH_DISABLED: { disposition: 'fatal', remedy: 'Set GRAPH_ENABLED=true to use the graph.' },

  POSTGRES_UNREACHABLE: {
    disposition: 'retry',
    remedy: 'Check that PostgreSQL runs and that DATABASE_URL names its host and port.',
  },
  POSTGRES_AUTH: {
    disposition: 'fatal',
    remedy: 'Check the user, password and database in DATABASE_URL, and pg_hba.conf.',
  },
  POSTGRES_PRIVILEGE: {
    disposition: 'fatal',
    remedy:
      'Give the user REPLICATION, SELECT on the mapped tables, EXECUTE on pg_logical_emit_message, and BYPASSRLS if a table ' +
      'has row security. Whoever makes or alters the publication owns the tables and has CREATE on the database.',
  },
  POSTGRES_WAL_LEVEL: {
    disposition: 'fatal',
    remedy: 'Set wal_level = logical in postgresql.conf and restart PostgreSQL.',
  },
  POSTGRES_SCHEMA: {
    disposition: 'fatal',
    remedy: 'Bring the table and the connector file into line, as the message says.',
  },
  TABLE_REWRITTEN: { disposition: 'retry', remedy: 'None: all rows of the table are published again.' },
  POSTGRES_REPLICA_IDENTITY: {
    disposition: 'fatal',
    remedy: 'Run the alter table statement in the message.',
  },
  POSTGRES_PUBLICATION: {
    disposition: 'fatal',
    remedy: 'Run the statement in the message, or start with --manage-publication.',
  },
  POSTGRES_SLOT_INVALID: {
    disposition: 'fatal',
    remedy: 'The slot no longer serves its changes: this is a gap. Run graph recover.',
  },
  SLOT_ACTIVE: {
    disposition: 'retry',
    remedy: 'None: another publisher holds the slot, this one waits as its standby.',
  },
  SLOT_IN_USE: {
    disposition: 'fatal',
    remedy:
      'Stop graph publish and graph replicate, and see that nothing starts them again; then run graph recover.',
  },
  SLOT_FOREIGN: {
    disposition: 'fatal',
    remedy: 'Name another slot in source.postgres.json: slot names are those of the whole server.',
  },
  POSTGRES_SYNCHRONOUS: {
    disposition: 'fatal',
    remedy:
      'List the physical standbys in synchronous_standby_names by their names (not * and not eiq-platform-graph), ' +
      'select pg_reload_conf();, and start again.',
  },
  POSTGRES_FAILED: {
    disposition: 'fatal',
    remedy: 'Do what the message says; if it names an SQLSTATE, see the PostgreSQL log.',
  },
  STREAM_PROTOCOL: {
    disposition: 'fatal',
    remedy: 'Report this: PostgreSQL sent something the decoder does not know.',
  },
  STREAM_LOST: { disposition: 'retry', remedy: 'None: the stream is opened again by itself.' },
  SOURCE_CHANGED: {
    disposition: 'fatal',
    remedy:
      'Find out what happened to the source, then run graph recover: until then the graph cannot be trusted.',
  },

  KAFKA_UNREACHABLE: {
    disposition: 'retry',
    remedy: 'Check that Kafka runs and that KAFKA_BROKERS names it.',
  },
  KAFKA_AUTH: { disposition: 'fatal', remedy: 'Check the SASL and TLS settings for Kafka.' },
  KAFKA_TOPIC: {
    disposition: 'fatal',
    remedy: 'Bring the topic and source.postgres.json into line, as the message says.',
  },
  KAFKA_TOPIC_CHANGED: {
    disposition: 'fatal',
    remedy: 'A topic was recreated or lost records: this is a gap. Run graph recover.',
  },
  KAFKA_RECORD_TOO_LARGE: {
    disposition: 'dead-letter',
    remedy:
      'Raise maxMessageBytes in source.postgres.json, max.message.bytes of the topics to the same, and with it ' +
      'message.max.bytes and replica.fetch.max.bytes of the brokers; start the publisher again, then redrive.',
  },
  KAFKA_PRODUCER_LOST: {
    disposition: 'retry',
    remedy: 'A service begins again by itself, with a new producer; a command is to be run again.',
  },
  CONTROL_MALFORMED: {
    disposition: 'fatal',
    remedy:
      'Find out who wrote it: only the publisher writes the control topic, and an older version reads no newer one.',
  },
  KAFKA_FAILED: { disposition: 'fatal', remedy: 'See the Kafka error code and the broker log.' },

  NEO4J_UNREACHABLE: {
    disposition: 'retry',
    remedy: 'Check that Neo4j runs and that NEO4J_URI names its host and port.',
  },
  NEO4J_TRANSIENT: {
    disposition: 'retry',
    remedy: 'A service tries again by itself; a command is to be run again (sync-data: with --resume).',
  },
  NEO4J_AUTH: { disposition: 'fatal', remedy: 'Check NEO4J_USERNAME and NEO4J_PASSWORD.' },
  NEO4J_DATABASE: { disposition: 'fatal', remedy: 'Check that NEO4J_DATABASE exists.' },
  NEO4J_CONSTRAINT: {
    disposition: 'dead-letter',
    remedy: 'Look at the record named in the dead letter, mend its row, then redrive.',
  },
  NEO4J_DUPLICATES: {
    disposition: 'fatal',
    remedy: 'Remove the duplicates named in the message, then start again.',
  },
  NEO4J_SCHEMA: {
    disposition: 'fatal',
    remedy: 'Run the statements in the message, or see the Neo4j status code, then start again.',
  },
  NEO4J_REJECTED: {
    disposition: 'dead-letter',
    remedy: 'Look at the record named in the dead letter, mend its row, then redrive.',
  },
  NEO4J_FAILED: { disposition: 'fatal', remedy: 'See the Neo4j status code and log.' },

  GRAPH_FOREIGN: {
    disposition: 'fatal',
    remedy:
      'Check DATABASE_URL and NEO4J_URI; the graph of another source needs another namespace in sink.neo4j.json.',
  },
  GRAPH_EMPTYING: {
    disposition: 'fatal',
    remedy: 'Run graph rebuild on it again: it goes on where it was ended. After a gap, run graph recover.',
  },
  GRAPH_IN_USE: {
    disposition: 'fatal',
    remedy: 'Stop graph project and graph replicate on that graph, then start again.',
  },
  TARGET_NOT_EMPTY: {
    disposition: 'fatal',
    remedy: 'Name an empty graph, or add --force-empty to remove what it holds of this mapping first.',
  },
  TARGET_IS_LIVE: {
    disposition: 'fatal',
    remedy: 'Name another server or database, or use --in-place to empty and rebuild this one.',
  },
  LIVE_UNKNOWN: {
    disposition: 'fatal',
    remedy: 'Mend what keeps it from being read, or unset NEO4J_URI if no graph is in use, then start again.',
  },
  HISTORY_INCOMPLETE: {
    disposition: 'fatal',
    remedy: 'Add --republish: every row of all tables is published again, and the graph is built from that.',
  },
  RECORD_MALFORMED: {
    disposition: 'dead-letter',
    remedy: 'Find out who wrote the record; only the publisher writes the data topics.',
  },
  PROGRESS_LOST: {
    disposition: 'retry',
    remedy: 'None: the projector begins again with what the graph says now.',
  },
  PROGRESS_GAP: {
    disposition: 'fatal',
    remedy: 'The topic and the graph no longer fit: this is a gap. Run graph recover.',
  },
  EPOCH_BELOW: {
    disposition: 'fatal',
    remedy: 'The topic holds records of an older source than the graph. Run graph recover.',
  },
  SHUTDOWN_TIMEOUT: {
    disposition: 'fatal',
    remedy: 'The process did not drain in time; nothing is lost, start it again.',
  },

  STACK_TOOL_MISSING: {
    disposition: 'fatal',
    remedy: 'Install it and start again: the local stack needs Java 17 or later and Maven 3.6 or later.',
  },
  STACK_FAILED: { disposition: 'fatal', remedy: 'Mend what the message names and start the stack again.' },

  ALREADY_RUNNING: { disposition: 'fatal', remedy: 'Wait until it has ended, or end it.' },
  LOCK_LOST: {
    disposition: 'fatal',
    remedy: 'Run it again once PostgreSQL is there: another run may have begun meanwhile.',
  },
  REPLAY_UNFINISHED: {
    disposition: 'fatal',
    remedy: 'Run it again as it was, to finish it, or add --restart, to give it up.',
  },
  REPORT_FAILED: {
    disposition: 'fatal',
    remedy: 'Mend what the file system says, then start again; nothing was repaired.',
  },
  REPAIR_REFUSED: {
    disposition: 'fatal',
    remedy: 'Look at the report: is this the right database? Then raise --max-repairs.',
  },

  STREAM_STOPPED: {
    disposition: 'fatal',
    remedy: 'Start graph publish and graph project, or graph replicate, which is both; then run it again.',
  },
  STREAM_RUNNING: { disposition: 'fatal', remedy: 'Leave --direct out.' },
  LOADING: {
    disposition: 'fatal',
    remedy: 'Wait until the load or the recovery is done; eiq-platform graph status shows how far it is.',
  },
  NOT_PROVED: {
    disposition: 'fatal',
    remedy: 'See the log and the dead letters for what is in the way, then run the command again.',
  },
  TIMED_OUT: { disposition: 'fatal', remedy: 'Look at eiq-platform graph status for what is behind.' },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof CATALOGUE;

export type ErrorContext = Readonly<Record<string, string | number | boolean | bigint | undefined>>;

export class AppError extends Error {
  readonly code: ErrorCode;
  readonly context: ErrorContext;
  readonly remedy: string;

  /** `furtherRemedy`: what only the place that throws it knows, behind that of the catalogue. */
  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; context?: ErrorContext; furtherRemedy?: string } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.context = options.context ?? {};
    const { remedy } = CATALOGUE[code];
    this.remedy = options.furtherRemedy === undefined ? remedy : `${remedy} ${options.furtherRemedy}`;
  }

  get disposition(): Disposition {
    return CATALOGUE[this.code].disposition;
  }
}

export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  return error instanceof AppError && (code === undefined || error.code === code);
}

/** Unknown = fatal. */
export function dispositionOf(error: unknown): Disposition {
  return error instanceof AppError ? error.disposition : 'fatal';
}

/**
 * For people: what happened and what to do, in one line. Of an error that nobody foresaw, its name and where it arose,
 * not its text, which may quote values.
 */
export function describeError(error: unknown): string {
  if (error instanceof AppError) return `${error.message} ${error.remedy}`;
  return ['Unexpected error, please report it:', ...originOf(error)].join('\n');
}

/** Name and stack frames of an error that is not ours. */
export function originOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [typeof error];
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  return [error.name, ...frames];
}
