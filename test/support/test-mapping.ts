/** The shipped mapping under names of a test's own, so that tests share one database (and brokers) without meeting. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileMapping, type Mapping, type TableMapping } from '../../src/core/mapping.ts';
import { sinkFile, sourceFile, tableFile, type TableFile } from '../../src/core/mapping-schema.ts';

const FOLDER = 'connectors';
const NAMES = ['Entity', 'Extract', 'RELATED', 'OBSERVED', 'SIGHTED', 'LINKED'] as const;

export interface TestMapping {
  readonly mapping: Mapping;
  readonly table: (name: string) => TableMapping;
  /** Base labels and relationship types of the shipped mapping → those of the test. Type labels are shared. */
  readonly nameOf: (shipped: (typeof NAMES)[number]) => string;
  /** Puts them into a query: `:Entity` and the like. */
  readonly rename: (query: string) => string;
}

/** `suffix` is also the namespace and the topic prefix. `change` may alter each table's file before it is compiled. */
export function testMapping(
  suffix: string,
  change: (file: TableFile) => TableFile = (file) => file,
): TestMapping {
  const rename = (text: string) =>
    text.replaceAll(new RegExp(`(?<=[:|"])(${NAMES.join('|')})\\b`, 'g'), (name) => `${name}_${suffix}`);
  const read = (file: string): unknown => JSON.parse(readFileSync(join(FOLDER, file), 'utf8'));
  const tables = readdirSync(join(FOLDER, 'entities')).map((name) => {
    const file = join('entities', name);
    return { file, content: change(tableFile.parse(JSON.parse(rename(JSON.stringify(read(file)))))) };
  });
  const source = sourceFile.parse(read('source.postgres.json'));
  const sink = sinkFile.parse(read('sink.neo4j.json'));
  const { mapping, problems } = compileMapping({
    source: { file: 'source', content: { ...source, topicPrefix: suffix } },
    sink: { file: 'sink', content: { ...sink, namespace: suffix, consumerGroupPrefix: suffix } },
    tables,
  });
  if (problems.length > 0) throw new Error(JSON.stringify(problems));
  return {
    mapping,
    rename,
    nameOf: (shipped) => `${shipped}_${suffix}`,
    table(name) {
      const found = mapping.tables.find(({ table }) => table === name);
      if (found === undefined) throw new RangeError(`${name} is not mapped`);
      return found;
    },
  };
}
