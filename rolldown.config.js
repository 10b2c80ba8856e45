// Into few files, with the packages that they use: a command starts in half the time.
import { defineConfig } from 'rolldown';

/** What is started, and what the benchmarks look into. */
const ENTRIES = ['cli/main', 'postgres/stream', 'postgres/transactions', 'sample/tables', 'stack/stack'];

export default defineConfig({
  input: Object.fromEntries(ENTRIES.map((name) => [name, `src/${name}.ts`])),
  platform: 'node',
  // pg asks for pg-native, and does without it.
  external: ['pg-native'],
  // pg looks for Cloudflare's workers by this, for which Node 20 loads its whole fetch.
  transform: { define: { Response: 'undefined' } },
  output: { dir: 'dist', cleanDir: true, chunkFileNames: 'chunks/[name]-[hash].js' },
});
