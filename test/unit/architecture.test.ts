import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

/** Layers, lowest first; a file may import from its own folder and from lower layers. */
const LAYERS: readonly (readonly string[])[] = [
  ['core'],
  ['runtime'],
  ['postgres', 'kafka', 'neo4j', 'config'],
  ['pipelines'],
  ['ops'],
  ['stack', 'sample'],
  ['cli'],
];

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

const root = resolve('src');
const files: SourceFile[] = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    const specifiers = [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map((match) => match[1] ?? '');
    return { path, text, imports: specifiers.map((s) => relative(root, resolve(root, dirname(path), s))) };
  });

const folderOf = (path: string) => path.split('/')[0] ?? '';
const layerOf = (path: string) => LAYERS.findIndex((layer) => layer.includes(folderOf(path)));

describe('the architecture', () => {
  it('is looked at', () => {
    expect(files.length).toBeGreaterThan(30);
    expect(files.filter((file) => layerOf(file.path) === -1).map((file) => file.path)).toEqual([]);
  });

  it('has imports that go down only, and none between adapters', () => {
    const wrong = files.flatMap(({ path, imports }) =>
      imports
        .filter((target) => folderOf(target) !== folderOf(path) && layerOf(target) >= layerOf(path))
        .map((target) => `${path} → ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('uses the stack and the sample platform in the command line only', () => {
    const wrong = files.flatMap(({ path, imports }) =>
      imports
        .filter((target) => ['stack', 'sample'].includes(folderOf(target)))
        .filter((target) => folderOf(path) !== folderOf(target) && folderOf(path) !== 'cli')
        .map((target) => `${path} → ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('has no import cycles', () => {
    const graph = new Map(files.map((file) => [file.path, file.imports]));
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
      if (done.has(path) || trail.includes(path)) return;
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const file of files) visit(file.path, []);
    expect(cycles).toEqual([]);
  });

  it('has no barrels and no default exports', () => {
    const wrong = files.filter(({ text }) => /^export (\*|default|\{[^}]*\} from)/m.test(text));
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it.each([
    ['process.env', /process\.env/, ['config/env.ts']],
    ['pg-logical-replication', /from 'pg-logical-replication'/, ['postgres/stream.ts']],
  ])('keeps %s in one file', (_, pattern, allowed) => {
    const wrong = files.filter(({ path, text }) => pattern.test(text) && !allowed.includes(path));
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it.each([
    ['pg', 'postgres'],
    ['kafkajs', 'kafka'],
    ['neo4j-driver', 'neo4j'],
  ])('keeps the library %s inside src/%s, the stack and the sample platform', (library, folder) => {
    const pattern = new RegExp(`from '${library}'`);
    const wrong = files.filter(
      ({ path, text }) => pattern.test(text) && ![folder, 'stack', 'sample', 'cli'].includes(folderOf(path)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });
});
