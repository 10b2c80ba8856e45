import { Neo4jError } from 'neo4j-driver';
import { expect, it } from 'vitest';
import { wrapNeo4j } from '../../src/neo4j/client.ts';

const failure = (code: string) => new Neo4jError('the title is canary', code, '50N42', 'canary');

it.each([
  ['ServiceUnavailable', 'NEO4J_UNREACHABLE', 'retry'],
  ['SessionExpired', 'NEO4J_UNREACHABLE', 'retry'],
  ['Neo.TransientError.Transaction.DeadlockDetected', 'NEO4J_TRANSIENT', 'retry'],
  ['Neo.TransientError.General.MemoryPoolOutOfMemoryError', 'NEO4J_TRANSIENT', 'retry'],
  ['Neo.TransientError.Database.DatabaseUnavailable', 'NEO4J_TRANSIENT', 'retry'],
  ['Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration', 'NEO4J_TRANSIENT', 'retry'],
  ['Neo.ClientError.Transaction.LockClientStopped', 'NEO4J_TRANSIENT', 'retry'],
  ['Neo.ClientError.Security.Unauthorized', 'NEO4J_AUTH', 'fatal'],
  ['Neo.ClientError.Database.DatabaseNotFound', 'NEO4J_DATABASE', 'fatal'],
  ['Neo.ClientError.Schema.ConstraintValidationFailed', 'NEO4J_CONSTRAINT', 'dead-letter'],
  ['Neo.ClientError.Statement.EntityNotFound', 'NEO4J_CONSTRAINT', 'dead-letter'],
  ['Neo.DatabaseError.Schema.ConstraintCreationFailed', 'NEO4J_SCHEMA', 'fatal'],
  ['Neo.ClientError.Schema.IndexAlreadyExists', 'NEO4J_SCHEMA', 'fatal'],
  ['Neo.ClientError.Statement.ArgumentError', 'NEO4J_REJECTED', 'dead-letter'],
  ['Neo.DatabaseError.General.UnknownError', 'NEO4J_FAILED', 'fatal'],
  ['N/A', 'NEO4J_UNREACHABLE', 'retry'],
])('%s is %s: %s', (status, code, disposition) => {
  const error = wrapNeo4j(failure(status), 'graph:7687');
  expect(error).toMatchObject({ code, disposition, context: { status } });
  expect(error.message).not.toContain('canary');
});
