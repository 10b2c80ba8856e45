/** Whether a file can be replaced, found out without a try: `rename` and `unlink` have no rehearsal. */
import { lstat, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

interface Owned {
  readonly uid: number;
  readonly mode: number;
}

const STICKY = 0o1000;
const ROOT = 0;

/** Why we could not replace what is there; null: we can, or nothing is. */
export async function obstacleAt(path: string): Promise<string | null> {
  const there = await lstat(path).catch(() => null);
  if (there === null) return null;
  if ((await stat(path).catch(() => there)).isDirectory()) return 'it is a directory';
  const us = process.geteuid?.() ?? ROOT;
  return mayReplace(us, there, await stat(dirname(path)))
    ? null
    : 'it belongs to another user, in a folder where only owners replace files';
}

/** Where the folder can be written. */
function mayReplace(us: number, there: Owned, folder: Owned): boolean {
  return (folder.mode & STICKY) === 0 || [ROOT, there.uid, folder.uid].includes(us);
}
