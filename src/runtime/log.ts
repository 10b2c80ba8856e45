/** Logs: one JSON line per change of state, on stderr; stdout carries results only. Level = action required. */
import { destination, type Logger, pino } from 'pino';
import { AppError, originOf } from '../core/errors.ts';

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;

export function createLog(level: string, name: string): Log {
  return pino(
    {
      level,
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { error: serializeError },
    },
    destination({ fd: 2, sync: true }),
  );
}

/** Code, message and context of our own errors; of others the name and stack frames only: their text may quote values. */
export function serializeError(error: unknown): Record<string, unknown> {
  if (error instanceof AppError) {
    const context: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(error.context)) {
      context[name] = typeof value === 'bigint' ? value.toString() : value;
    }
    return { code: error.code, message: error.message, remedy: error.remedy, ...context };
  }
  const [name, ...at] = originOf(error);
  return { name, at };
}
