/**
 * The compiled mapping: the one description of tables, topics and graph that publish, project, reconcile and rebuild
 * share. Compiling is pure; problems are collected, all of them, with the file, the path in it and the fix.
 */
import type { KeyKind, PropertySpec, SinkFile, SourceFile, StoredAs, TableFile } from './mapping-schema.ts';

/** Where a property's value comes from: the first source that is not null. */
export interface PropertyMapping {
  readonly name: string;
  readonly from: readonly {
    readonly column: string;
    readonly path: readonly string[];
    readonly as: StoredAs;
  }[];
}

export interface KeyColumn {
  readonly name: string;
  readonly kind: KeyKind;
}

/**
 * The property that identifies a node or relationship: the one that a single key column is mapped to as a whole, or
 * the internal `_key`, the JSON array of the key's values as text, where the key is composite.
 */
export interface NodeTarget {
  readonly kind: 'node';
  readonly label: string;
  readonly keyProperty: string;
  /** Values of `column` that have a label of their own; null where the node has just its base label. */
  readonly labels: { readonly column: string; readonly byValue: ReadonlyMap<string, string> } | null;
  /** Without the key property. */
  readonly properties: readonly PropertyMapping[];
}

export interface RelationshipVariant {
  readonly type: string;
  readonly properties: readonly PropertyMapping[];
}

export interface EndMapping {
  readonly label: string;
  readonly column: string;
  /** The key property of the node table behind the label, and how its values are stored. */
  readonly keyProperty: string;
  readonly kind: KeyKind;
}

export interface RelationshipTarget {
  readonly kind: 'relationship';
  readonly keyProperty: string;
  /** `column` null: always `otherwise`. */
  readonly type: {
    readonly column: string | null;
    readonly byValue: ReadonlyMap<string, RelationshipVariant>;
    readonly otherwise: RelationshipVariant;
  };
  readonly from: EndMapping;
  readonly to: EndMapping;
}

export interface TableMapping {
  /** `schema.name`. */
  readonly table: string;
  readonly schema: string;
  readonly name: string;
  readonly topic: string;
  /** In the order of the key's index. */
  readonly key: readonly KeyColumn[];
  readonly target: NodeTarget | RelationshipTarget;
  /** Every column that the key, the labels, the ends or a property needs, with the kinds of type that fit it. */
  readonly columns: ReadonlyMap<string, ColumnKind>;
}

export type ColumnKind = KeyKind | 'any' | 'integer' | 'boolean' | 'timestamp' | 'json';

export interface Mapping {
  readonly source: Omit<SourceFile, '$schema' | 'tables'>;
  readonly sink: Omit<SinkFile, '$schema'>;
  readonly tables: readonly TableMapping[];
  readonly controlTopic: string;
  readonly deadLetterTopic: string;
}

export interface MappingProblem {
  readonly file: string;
  /** Dotted, empty for the whole file. */
  readonly path: string;
  readonly message: string;
}

export interface ConnectorFiles {
  readonly source: { readonly file: string; readonly content: SourceFile };
  readonly sink: { readonly file: string; readonly content: SinkFile };
  readonly tables: readonly { readonly file: string; readonly content: TableFile }[];
}

export function compileMapping(files: ConnectorFiles): {
  mapping: Mapping;
  problems: readonly MappingProblem[];
} {
  const problems: MappingProblem[] = [];
  const { tables: wanted, $schema, ...source } = files.source.content;
  const { $schema: sinkSchema, ...sink } = files.sink.content;
  const nodeKeys = new Map<string, { keyProperty: string; kind: KeyKind }>();
  for (const { content } of files.tables) {
    const [first, ...more] = Object.entries(content.key);
    if (content.node === undefined || first === undefined || more.length > 0) continue;
    const [name, kind] = first;
    nodeKeys.set(content.node.label, {
      keyProperty: keyPropertyOf(content.node.properties, [{ name, kind }]),
      kind,
    });
  }

  const tables = files.tables.map(({ file, content }) =>
    compileTable(file, content, source.topicPrefix, nodeKeys, problems),
  );

  const types = tables.map(({ target }) => (target.kind === 'relationship' ? relationshipTypes(target) : []));
  const known = new Set(tables.map((t) => t.table));
  const listed = new Set(wanted);
  for (const [i, table] of wanted.entries()) {
    if (known.has(table)) continue;
    problems.push({
      file: files.source.file,
      path: `tables.${i}`,
      message: `no file in entities/ maps ${table}: add one, or remove it here`,
    });
  }
  for (const [i, { file, content }] of files.tables.entries()) {
    if (!listed.has(content.table)) {
      problems.push({
        file,
        path: 'table',
        message: `${content.table} is not in the tables of ${files.source.file}: add it there, or remove this file`,
      });
    }
    duplicates(
      files.tables,
      i,
      (f) => f.content.table,
      'table',
      `${content.table} is mapped twice`,
      problems,
    );
    duplicates(
      tables.map((t, k) => ({ file: files.tables[k]?.file ?? '', topic: t.topic })),
      i,
      (t) => t.topic,
      'topic',
      'two tables share one topic: set "topic" in one of them',
      problems,
    );
    for (const type of types[i] ?? []) {
      const other = types.findIndex((written) => written.includes(type));
      if (other < i)
        problems.push({
          file,
          path: 'relationship',
          message: `${tables[other]?.table ?? ''} writes relationships of type ${type} as well: give one of them another type`,
        });
    }
    if (content.node) {
      duplicates(
        files.tables,
        i,
        (f) => f.content.node?.label,
        'node.label',
        `two tables write nodes of one label`,
        problems,
      );
    }
  }
  if (sink.tombstoneRetentionMs <= source.maxCompactionLagMs) {
    problems.push({
      file: files.sink.file,
      path: 'tombstoneRetentionMs',
      message: `must be longer than maxCompactionLagMs of ${files.source.file} (${source.maxCompactionLagMs}), else a replay could bring back what was deleted`,
    });
  }
  const controlTopic = `${source.topicPrefix}.control`;
  const deadLetterTopic = `${source.topicPrefix}.dead-letters`;
  for (const [i, t] of tables.entries()) {
    if (t.topic === controlTopic || t.topic === deadLetterTopic) {
      problems.push({
        file: files.tables[i]?.file ?? '',
        path: 'topic',
        message: `${t.topic} is reserved: choose another topic`,
      });
    }
  }
  return { mapping: { source, sink, tables, controlTopic, deadLetterTopic }, problems };
}

function compileTable(
  file: string,
  content: TableFile,
  prefix: string,
  nodeKeys: ReadonlyMap<string, { keyProperty: string; kind: KeyKind }>,
  problems: MappingProblem[],
): TableMapping {
  const [schema = '', name = ''] = content.table.split('.');
  const key = Object.entries(content.key).map(([column, kind]) => ({ name: column, kind }));
  const columns = new Map<string, ColumnKind>(key.map((k) => [k.name, k.kind]));
  const problem = (path: string, message: string) => problems.push({ file, path, message });
  const use = (column: string, kind: ColumnKind, path: string) => {
    const before = columns.get(column);
    if (before === undefined || before === 'any') columns.set(column, kind);
    else if (kind !== 'any' && kind !== before && !(kind === 'integer' && before === 'bigint')) {
      problem(path, `column ${column} is used as ${kind} here and as ${before} elsewhere`);
    }
  };
  const keyProperty = keyPropertyOf((content.node ?? content.relationship)?.properties ?? {}, key);
  const compileProperties = (specs: Record<string, PropertySpec>, path: string): PropertyMapping[] =>
    Object.entries(specs)
      .filter(([property]) => property !== keyProperty)
      .map(([property, spec]) => ({
        name: property,
        from: ('firstOf' in spec ? spec.firstOf : [spec]).map((source) => {
          const as = source.as ?? 'text';
          const at = `${path}.${property}`;
          if (source.path !== undefined && as !== 'text')
            problem(at, 'a value inside JSON is text: remove "as"');
          use(source.column, source.path !== undefined ? 'json' : as === 'text' ? 'any' : as, at);
          return { column: source.column, path: source.path ?? [], as };
        }),
      }));
  const end = (side: 'from' | 'to', spec: { label: string; column: string }): EndMapping => {
    const target = nodeKeys.get(spec.label);
    if (target === undefined) {
      problem(`relationship.${side}.label`, `no table maps nodes (:${spec.label}) with a key of one column`);
    } else use(spec.column, target.kind, `relationship.${side}.column`);
    return { ...spec, keyProperty: target?.keyProperty ?? '_key', kind: target?.kind ?? 'text' };
  };

  const base = {
    table: content.table,
    schema,
    name,
    topic: content.topic ?? topicOf(prefix, schema, name),
    key,
    columns,
  };
  const { node, relationship } = content;
  if ((node === undefined) === (relationship === undefined)) {
    problem('', 'give either "node" or "relationship"');
  }
  if (relationship !== undefined) {
    const properties = compileProperties(relationship.properties, 'relationship.properties');
    const choice = relationship.type;
    const from = end('from', relationship.from);
    const to = end('to', relationship.to);
    if (typeof choice === 'string') {
      const type = {
        column: null,
        byValue: new Map<string, RelationshipVariant>(),
        otherwise: { type: choice, properties },
      };
      return { ...base, target: { kind: 'relationship', keyProperty, type, from, to } };
    }
    if (!key.some((k) => k.name === choice.column)) {
      problem(
        'relationship.type.column',
        `${choice.column} must be part of the key: a relationship cannot change its type`,
      );
    }
    if (Object.values(choice.values).includes(choice.otherwise.type)) {
      problem(
        'relationship.type.otherwise.type',
        `${choice.otherwise.type} stands among the values: its relationships could not be told apart`,
      );
    }
    const extra = compileProperties(
      choice.otherwise.properties ?? {},
      'relationship.type.otherwise.properties',
    );
    const byValue = new Map(
      Object.entries(choice.values).map(([value, type]) => [value, { type, properties }]),
    );
    const otherwise = { type: choice.otherwise.type, properties: [...properties, ...extra] };
    return {
      ...base,
      target: {
        kind: 'relationship',
        keyProperty,
        type: { column: choice.column, byValue, otherwise },
        from,
        to,
      },
    };
  }
  const spec = node ?? { label: 'Nothing', properties: {} };
  const properties = compileProperties(spec.properties, 'node.properties');
  if (spec.labels) use(spec.labels.column, 'text', 'node.labels.column');
  return {
    ...base,
    target: {
      kind: 'node',
      label: spec.label,
      keyProperty,
      labels: spec.labels
        ? { column: spec.labels.column, byValue: new Map(Object.entries(spec.labels.values)) }
        : null,
      properties,
    },
  };
}

/** Illegal characters become `_`. */
function topicOf(prefix: string, schema: string, name: string): string {
  return `${prefix}.${schema}.${name}`.replace(/[^A-Za-z0-9._-]/g, '_');
}

/** The property that stores the key as it is: a bigint as an integer, the rest as text. */
function keyPropertyOf(properties: Record<string, PropertySpec>, key: readonly KeyColumn[]): string {
  const [only, ...more] = key;
  if (only === undefined || more.length > 0) return '_key';
  const as = only.kind === 'bigint' ? 'integer' : 'text';
  for (const [name, spec] of Object.entries(properties)) {
    if ('firstOf' in spec || spec.path !== undefined || spec.column !== only.name) continue;
    if ((spec.as ?? 'text') === as) return name;
  }
  return '_key';
}

function duplicates<T extends { readonly file: string }>(
  all: readonly T[],
  index: number,
  of: (item: T) => string | undefined,
  path: string,
  message: string,
  problems: MappingProblem[],
): void {
  const item = all[index];
  if (item === undefined) return;
  const first = all.findIndex((other) => of(other) === of(item));
  if (first < index)
    problems.push({ file: item.file, path, message: `${message} (see ${all[first]?.file ?? ''})` });
}

export function tableByName(mapping: Mapping, table: string): TableMapping | undefined {
  return mapping.tables.find((t) => t.table === table);
}

/** The types that a table's relationships may have, each once. */
export function relationshipTypes({ type }: RelationshipTarget): string[] {
  return [...new Set([...type.byValue.values(), type.otherwise].map((variant) => variant.type))];
}
