/** When a process started, as text to compare: together with its pid it names one process for ever. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Undefined if there is no such process, or it has ended and only waits for its parent (a zombie). */
export function processStartTime(pid: number): string | undefined {
  if (!existsSync('/proc/self/stat')) {
    const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', pid.toString()], { encoding: 'utf8' });
    return stdout.trim() || undefined;
  }
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // proc(5): the name, in parentheses, may hold anything; state is the 3rd field, the start time the 22nd.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? undefined : fields[19];
}
