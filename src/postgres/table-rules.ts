/** Does a table fit its mapping? Pure rules over what the catalogue says, or the stream; each problem with its remedy. */
import { type Relation, tableName } from '../core/change.ts';
import { AppError, type ErrorCode } from '../core/errors.ts';
import type { ColumnKind, TableMapping } from '../core/mapping.ts';
import { notSent, type PartitionFacts, partitionProblems } from './partition-rules.ts';
import { type TableName, quoteIdentifier, quoteTable } from './sql.ts';

export type TableSpec = Pick<TableMapping, 'schema' | 'name' | 'key' | 'columns'>;

export interface Problem {
  /** schema.name; null: it is the publication's. */
  readonly table: string | null;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface ColumnFacts {
  readonly name: string;
  readonly typeOid: number;
  /** As PostgreSQL writes it. */
  readonly type: string;
  readonly notNull: boolean;
  readonly toastable: boolean;
}

export interface TableFacts extends TableName {
  /** null: there is no such table, or it is not visible. */
  readonly found: {
    /** r table, p partitioned table; v, m, f, S and others are none. */
    readonly kind: string;
    readonly unlogged: boolean;
    /** Tables inherit from it, which are none of its partitions. */
    readonly inherited: boolean;
    readonly replicaIdentity: Relation['replicaIdentity'];
    /** The columns of that identity, where it is an index or the primary key. */
    readonly identityColumns: readonly string[];
    /** Those that hold rows; none of a table that is not partitioned. */
    readonly partitions: readonly PartitionFacts[];
    readonly columns: readonly ColumnFacts[];
    /** Column sets of valid, immediate, unconditional unique indexes. */
    readonly uniqueKeys: readonly (readonly string[])[];
    /** Of valid, whole B-tree indexes, in their order; `bytes`: ordered as `collate "C"` does. */
    readonly orders: readonly (readonly { readonly column: string; readonly bytes: boolean }[])[];
    readonly selectable: boolean;
    /** Row security applies to us: we would not see every row. */
    readonly rowSecurity: boolean;
    readonly published: {
      /** By its own name, not only as one of its schema's, of all tables or of a partitioned one. */
      readonly listed: boolean;
      readonly columns: readonly string[];
      readonly filtered: boolean;
    } | null;
  } | null;
}

export interface PublicationFacts {
  readonly name: string;
  /** null: there is none. */
  readonly found: {
    readonly operations: Readonly<Record<'insert' | 'update' | 'delete' | 'truncate', boolean>>;
    readonly viaRoot: boolean;
  } | null;
}

/** Built-in types, by oid, that are read the same way. A domain or an extension's type only fits `any`. */
const FITTING: Readonly<Record<Exclude<ColumnKind, 'any'>, readonly number[]>> = {
  uuid: [2950],
  text: [25, 1043],
  bigint: [20, 21, 23],
  integer: [20, 21, 23],
  boolean: [16],
  timestamp: [1184],
  json: [114, 3802],
};

const WANTED: Readonly<Record<ColumnKind, string>> = {
  uuid: 'uuid',
  text: 'text or varchar',
  bigint: 'bigint, integer or smallint',
  integer: 'bigint, integer or smallint',
  boolean: 'boolean',
  timestamp: 'timestamp with time zone',
  json: 'json or jsonb',
  any: 'any type',
};

function fits(kind: ColumnKind, typeOid: number): boolean {
  return kind === 'any' || FITTING[kind].includes(typeOid);
}

export function publicationProblems({ name, found }: PublicationFacts): Problem[] {
  const publication = quoteIdentifier(name);
  const problem = (message: string): Problem => ({ table: null, code: 'POSTGRES_PUBLICATION', message });
  if (found === null)
    return [problem(`The publication ${name} does not exist: create publication ${publication} …;`)];
  const silent = Object.entries(found.operations).filter(([, published]) => !published);
  if (silent.length === 0) return [];
  const all = `alter publication ${publication} set (publish = 'insert, update, delete, truncate');`;
  return [
    problem(
      `The publication ${name} leaves out ${silent.map(([operation]) => operation).join(', ')}: ${all}`,
    ),
  ];
}

/** All problems of one table. */
export function tableProblems(facts: TableFacts, spec: TableSpec, publication: PublicationFacts): Problem[] {
  const table = tableName(spec);
  const quoted = quoteTable(spec);
  const { found } = facts;
  const problems: Problem[] = [];
  const problem = (code: ErrorCode, message: string) => problems.push({ table, code, message });
  if (found === null) {
    problem(
      'POSTGRES_SCHEMA',
      `The table ${table} does not exist, or the user may not look into schema ${spec.schema}.`,
    );
    return problems;
  }
  if (found.kind !== 'r' && found.kind !== 'p') {
    problem('POSTGRES_SCHEMA', `${table} is not a table: only tables are replicated.`);
    return problems;
  }
  if (found.unlogged) {
    problem(
      'POSTGRES_SCHEMA',
      `${table} is unlogged, so its changes are in no WAL: alter table ${quoted} set logged;`,
    );
  }
  if (found.inherited) {
    problem(
      'POSTGRES_SCHEMA',
      `${table} has child tables (inherits): it shows their rows, but their changes carry their own names. Use partitions.`,
    );
  }
  if (!found.selectable)
    problem('POSTGRES_PRIVILEGE', `${table} cannot be read: grant select on ${quoted} to …;`);
  if (found.rowSecurity) {
    problem('POSTGRES_PRIVILEGE', `Row security hides rows of ${table}: give the user BYPASSRLS.`);
  }

  const columns = new Map(found.columns.map((column) => [column.name, column]));
  for (const [name, kind] of spec.columns) {
    const column = columns.get(name);
    if (column === undefined) problem('POSTGRES_SCHEMA', `${table} has no column ${name}.`);
    else if (!fits(kind, column.typeOid)) {
      problem(
        'POSTGRES_SCHEMA',
        `Column ${name} of ${table} is ${column.type}; its mapping needs ${WANTED[kind]}.`,
      );
    }
  }

  problems.push(...keyProblems(facts, spec), ...orderProblems(found, spec));

  if (publication.found === null) return problems;
  const name = quoteIdentifier(publication.name);
  if (found.published === null) {
    const add = `alter publication ${name} add table ${quoted};`;
    problem('POSTGRES_PUBLICATION', `The publication ${publication.name} does not publish ${table}: ${add}`);
    return problems;
  }
  const { published } = found;
  if (!published.listed) {
    problem(
      'POSTGRES_PUBLICATION',
      `The publication ${publication.name} does not list ${table} by its name, so that it could leave the stream unseen: ` +
        `create publication … for table ${quoted}, … with (publish_via_partition_root = true); with every mapped table, ` +
        'and name it in source.postgres.json; if this one was in use, that is a gap: run graph recover.',
    );
  }
  const unpublished = [...spec.columns.keys()].filter(
    (c) => columns.has(c) && !published.columns.includes(c),
  );
  if (unpublished.length > 0) {
    problem(
      'POSTGRES_PUBLICATION',
      `The publication ${publication.name} leaves out ${unpublished.join(', ')} of ${table}: publish the whole table ` +
        '(a generated column is published from PostgreSQL 18 on, with publish_generated_columns = stored).',
    );
  }
  if (published.filtered) {
    problem(
      'POSTGRES_PUBLICATION',
      `The publication ${publication.name} filters rows of ${table}: publish it without "where".`,
    );
  }
  if (found.kind === 'p' && !publication.found.viaRoot) {
    const root = `alter publication ${name} set (publish_via_partition_root = true);`;
    problem(
      'POSTGRES_PUBLICATION',
      `Changes of the partitioned ${table} carry its partitions' names: ${root}`,
    );
  }
  return problems;
}

type Found = NonNullable<TableFacts['found']>;

function isUnique({ uniqueKeys }: Found, key: TableSpec['key']): boolean {
  return uniqueKeys.some(
    (index) => index.length === key.length && key.every(({ name }) => index.includes(name)),
  );
}

/** Is there an index in the order in which the table is read in pages? Without one each page would sort the rest. */
function orderProblems(found: Found, { key, ...table }: TableSpec): Problem[] {
  const byBytes = key[0]?.kind === 'text';
  const ordered = found.orders.some(
    (index) =>
      key.every(({ name }, i) => index[i]?.column === name) && (!byBytes || index[0]?.bytes === true),
  );
  if (ordered || !isUnique(found, key)) return [];
  const name = tableName(table);
  const columns = key.map(
    (part, i) => quoteIdentifier(part.name) + (byBytes && i === 0 ? ' collate "C"' : ''),
  );
  const index = `create index on ${quoteTable(table)} (${columns.join(', ')});`;
  const message = `${name} is read in pages by its key, but has no index in that order: ${index}`;
  return [{ table: name, code: 'POSTGRES_SCHEMA', message }];
}

/** What a Relation message does not say: is each row still one node, and do changes of it name that node? */
export function keyProblems(facts: TableFacts, spec: TableSpec): Problem[] {
  const { found } = facts;
  if (found === null) return [];
  const table = tableName(spec);
  const quoted = quoteTable(spec);
  const columns = new Map(found.columns.map((column) => [column.name, column]));
  const problems: Problem[] = [];
  const problem = (code: ErrorCode, message: string) => problems.push({ table, code, message });

  const key = spec.key.map(({ name }) => name);
  const keyList = key.join(', ');
  const nullable = key.filter((name) => columns.get(name)?.notNull === false);
  if (!isUnique(found, spec.key) && key.every((name) => columns.has(name))) {
    const index = `create unique index on ${quoted} (${key.map(quoteIdentifier).join(', ')});`;
    problem('POSTGRES_SCHEMA', `The key (${keyList}) of ${table} has no unique index: ${index}`);
  }
  for (const name of nullable) {
    const notNull = `alter table ${quoted} alter column ${quoteIdentifier(name)} set not null;`;
    problem('POSTGRES_SCHEMA', `Key column ${name} of ${table} may be null: ${notNull}`);
  }

  const large = [...spec.columns.keys()].filter((name) => columns.get(name)?.toastable === true);
  const wanted = { key, large };
  const lacks = notSent(found, wanted);
  const full = `alter table ${quoted} replica identity full;`;
  if (lacks === 'large values') {
    const why = `Large values of ${large.join(', ')} in ${table} are not sent with every update`;
    problem('POSTGRES_REPLICA_IDENTITY', `${why}: ${full}`);
  }
  if (lacks === 'key') {
    problem('POSTGRES_REPLICA_IDENTITY', `Deletes from ${table} do not carry its key (${keyList}): ${full}`);
  }
  const ofPartitions = partitionProblems(spec, found.partitions, wanted);
  return [...problems, ...ofPartitions.map((each) => ({ table, ...each }))];
}

/** After a DDL in the stream. Throws AppError POSTGRES_SCHEMA naming the table and the column. */
export function checkRelation(relation: Relation, spec: TableSpec): void {
  const table = tableName(spec);
  const problem = (column: string, what: string) =>
    new AppError('POSTGRES_SCHEMA', `Column ${column} of ${table} ${what}.`, { context: { table, column } });
  for (const [name, kind] of spec.columns) {
    const column = relation.columns.find((c) => c.name === name);
    if (column === undefined) throw problem(name, 'is gone (dropped or renamed)');
    if (fits(kind, column.typeOid)) continue;
    throw problem(name, `has another type now (oid ${column.typeOid}); its mapping needs ${WANTED[kind]}`);
  }
}
