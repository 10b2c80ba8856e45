// Into few files, with the packages that they use: a command starts in half the time.
import { defineConfig } from 'rolldown';

/** What is started, and what the benchmarks look into. */
const ENTRIES = ['cli/main', 'postgres/stream', 'postgres/transactions', 'sample/tables', 'stack/stack'];

export default defineConfig({
  input: Object.fromEntries(ENTRIES.map((name) => [name, `src/${name}.ts`])),
  platform: 'node',
  // kafkajs is patched, and must be one instance; pg asks for pg-native, and does without it.
  external: ['kafkajs', 'pg-native'],
  output: { dir: 'dist', cleanDir: true, chunkFileNames: 'chunks/[name]-[hash].js' },
});
