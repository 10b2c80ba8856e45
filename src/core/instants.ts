/** Dates that an operator types, in a time zone, to an instant: pure but for the zone rules that the runtime knows. */
import { AppError } from './errors.ts';

const DATE = /^(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d)(?::(\d\d))?)?$/;
const DAY_MS = 86_400_000;

/**
 * `yyyy-mm-dd[ hh:mm[:ss]]` as ms since the Unix epoch. A time that the zone skips is refused, of one that it has twice
 * the earlier is taken. Throws USAGE.
 */
export function instantOf(text: string, timeZone: string): number {
  const wall = wallTime(text);
  const candidates = [wall - DAY_MS, wall + DAY_MS].map((near) => wall - offsetMs(near, timeZone));
  const valid = candidates.filter((instant) => instant + offsetMs(instant, timeZone) === wall);
  if (valid.length === 0) throw usage(`There is no ${text} in ${timeZone}: its clocks skip that time.`);
  return Math.min(...valid);
}

/** The fields as if they were UTC. */
function wallTime(text: string): number {
  const match = DATE.exec(text);
  if (match === null)
    throw usage(
      `${JSON.stringify(text)} is no date: use yyyy-mm-dd, yyyy-mm-dd hh:mm or yyyy-mm-dd hh:mm:ss.`,
    );
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    // A group that did not take part is undefined, whatever the types say.
    .map((field: string | undefined) => Number(field ?? 0));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const normal = date.toISOString();
  const pad = (n: number) => String(n).padStart(2, '0');
  if (
    !normal.endsWith(
      `${match[1] ?? ''}-${pad(month)}-${pad(day)}T${pad(hour)}:${pad(minute)}:${pad(second)}.000Z`,
    )
  )
    throw usage(`There is no ${text}.`);
  return date.getTime();
}

export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** What the zone's clocks are ahead of UTC by. Throws USAGE if there is no such zone. */
function offsetMs(instant: number, timeZone: string): number {
  if (!isTimeZone(timeZone))
    throw usage(`${JSON.stringify(timeZone)} is no time zone: use an IANA name such as Europe/Amsterdam.`);
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  const parts = new Map(format.formatToParts(instant).map(({ type, value }) => [type, value]));
  const field = (type: Intl.DateTimeFormatPartTypes) => Number(parts.get(type));
  const wall = new Date(0);
  wall.setUTCFullYear(
    parts.get('era') === 'BC' ? 1 - field('year') : field('year'),
    field('month') - 1,
    field('day'),
  );
  wall.setUTCHours(field('hour'), field('minute'), field('second'));
  return wall.getTime() - Math.floor(instant / 1000) * 1000;
}

function usage(message: string): AppError {
  return new AppError('USAGE', message);
}
