/** Folders on a file system of a given size: to be full is a thing of file systems, not of mocks. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  readonly folder: string;
  readonly resize: (bytes: number) => void;
  readonly dispose: () => void;
}

/** Or why there is none. */
export function smallDisk(bytes: number): SmallDisk | { readonly unavailable: string } {
  const folder = mkdtempSync(join(tmpdir(), 'small-disk-'));
  try {
    mount(['-t', 'tmpfs', '-o', `size=${bytes}`, 'none', folder]);
  } catch (error) {
    rmdirSync(folder);
    return { unavailable: `a tmpfs cannot be mounted here: ${String(error).split('\n')[0]}` };
  }
  return {
    folder,
    resize(to) {
      mount(['-o', `remount,size=${to}`, folder]);
    },
    dispose() {
      execFileSync('umount', [folder], { stdio: 'pipe' });
      rmdirSync(folder);
    },
  };
}

function mount(args: readonly string[]): void {
  execFileSync('mount', args, { stdio: 'pipe' });
}
