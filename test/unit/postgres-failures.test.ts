import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { postgresFailure } from '../../src/postgres/failures.ts';

const sqlState = (code: string) => Object.assign(new pg.DatabaseError('canary', 1, 'error'), { code });
const system = (code: string) => Object.assign(new Error('canary'), { code });

describe('failures of PostgreSQL', () => {
  it.each([
    [sqlState('28P01'), 'POSTGRES_AUTH', 'fatal'],
    [sqlState('28000'), 'POSTGRES_AUTH', 'fatal'],
    [sqlState('3D000'), 'POSTGRES_AUTH', 'fatal'],
    [sqlState('57P01'), 'POSTGRES_UNREACHABLE', 'retry'],
    [sqlState('57P03'), 'POSTGRES_UNREACHABLE', 'retry'],
    [sqlState('53300'), 'POSTGRES_UNREACHABLE', 'retry'],
    [sqlState('08006'), 'POSTGRES_UNREACHABLE', 'retry'],
    [sqlState('53400'), 'POSTGRES_FAILED', 'fatal'],
    [sqlState('42P01'), 'POSTGRES_FAILED', 'fatal'],
    [system('ECONNREFUSED'), 'POSTGRES_UNREACHABLE', 'retry'],
    [system('ENOTFOUND'), 'POSTGRES_UNREACHABLE', 'retry'],
    [system('CERT_HAS_EXPIRED'), 'POSTGRES_FAILED', 'fatal'],
    [new Error('Connection terminated unexpectedly'), 'POSTGRES_UNREACHABLE', 'retry'],
    [new TypeError('a mistake of ours'), 'POSTGRES_FAILED', 'fatal'],
    ['not an error', 'POSTGRES_FAILED', 'fatal'],
  ])('%o is %s, %s', (error, code, disposition) => {
    const failure = postgresFailure(error, 'db:5432/platform');
    expect(failure).toMatchObject({ code, disposition });
    expect(failure.message).toContain('db:5432/platform');
    expect(failure.message).not.toContain('canary');
  });

  it('what is denied is named', () => {
    const denied = Object.assign(new pg.DatabaseError('permission denied for table entity', 1, 'error'), {
      code: '42501',
    });
    expect(postgresFailure(denied, 'db:5432/platform')).toMatchObject({
      code: 'POSTGRES_PRIVILEGE',
      disposition: 'fatal',
      message: 'PostgreSQL at db:5432/platform denies a privilege: permission denied for table entity.',
    });
  });

  it('a failure that leaves the socket open is not the network’s', () => {
    expect(postgresFailure(new Error('no password'), 'db:5432/platform', true)).toMatchObject({
      code: 'POSTGRES_AUTH',
    });
  });

  it('an AppError passes unchanged', () => {
    const error = new AppError('STREAM_LOST', 'gone');
    expect(postgresFailure(error, 'db')).toBe(error);
  });
});
