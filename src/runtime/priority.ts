/** The priority of this process among others, for work that can wait. */
import os from 'node:os';

const { PRIORITY_BELOW_NORMAL } = os.constants.priority;

/** A courtesy: never above what the process was started with (`nice`), and no failure if the system refuses. */
export function yieldProcessor(system: Pick<typeof os, 'getPriority' | 'setPriority'> = os): void {
  try {
    if (system.getPriority() < PRIORITY_BELOW_NORMAL) system.setPriority(PRIORITY_BELOW_NORMAL);
  } catch {
    // It runs as it was started.
  }
}
