/** What the checker compares of each table: for each property, how it is read from the row and from the graph. */
import { ENTITY_TYPES, type ReplicatedTable } from './tables.ts';

export interface Property {
  readonly name: string;
  readonly sql: string;
  readonly cypher: string;
  readonly kind: 'text' | 'integer';
}

export interface Comparison {
  readonly table: ReplicatedTable;
  /** Pages go by this. */
  readonly page: Property;
  /** Tells which row and which graph element belong together. */
  readonly key: Pick<Property, 'sql' | 'cypher'>;
  /** Cypher, ending in a WHERE to which the range of a page is added. */
  readonly match: string;
  readonly properties: readonly Property[];
}

/** What the graph calls things. */
export interface GraphNames {
  readonly labels: { readonly entity: string; readonly extract: string };
  readonly types: {
    readonly related: string;
    readonly observed: string;
    readonly sighted: string;
    readonly linked: string;
  };
}

export const SHIPPED_NAMES: GraphNames = {
  labels: { entity: 'Entity', extract: 'Extract' },
  types: { related: 'RELATED', observed: 'OBSERVED', sighted: 'SIGHTED', linked: 'LINKED' },
};

export function comparisons({ labels, types }: GraphNames): readonly Comparison[] {
  return [
    {
      table: 'entity',
      page: text('id', 'id', 'n.id'),
      key: { sql: 'id', cypher: 'n.id' },
      match: `MATCH (n:${labels.entity}) WHERE NOT n:Stub`,
      properties: [
        // The label is the type in camel case.
        text(
          'label',
          `case when type in ('${ENTITY_TYPES.join("', '")}') then replace(initcap(replace(type, '-', ' ')), ' ', '') else '' end`,
          `reduce(names = '', name IN labels(n) |
            CASE WHEN name = '${labels.entity}' OR name STARTS WITH '_' THEN names ELSE names + name END)`,
        ),
        text('data_id', `data->>'id'`, 'n.data_id'),
        text('type', 'type', 'n.type'),
        text('title', `coalesce(data->>'title', data->>'name', meta->>'title')`, 'n.title'),
        text('tlp', `meta->>'tlp_color'`, 'n.tlp'),
        time('created_at', 'n'),
        time('last_updated_at', 'n'),
        text('data', 'data', 'n.data'),
        text('meta', 'meta', 'n.meta'),
        nothingBut('n', [
          'id',
          'data_id',
          'type',
          'title',
          'tlp',
          'created_at',
          'last_updated_at',
          'data',
          'meta',
        ]),
      ],
    },
    {
      table: 'relation',
      page: text('id', 'id', 'r.id'),
      key: { sql: 'id', cypher: 'r.id' },
      match: `MATCH (source:${labels.entity})-[r:${types.related}]->(target:${labels.entity}) WHERE true`,
      properties: [
        text('source', 'source_id', 'source.id'),
        text('target', 'target_id', 'target.id'),
        text('key', 'key', 'r.key'),
        text('subtype', 'subtype', 'r.subtype'),
        time('last_updated_at', 'r'),
        nothingBut('r', ['id', 'key', 'subtype', 'last_updated_at']),
      ],
    },
    {
      table: 'extract',
      page: { name: 'id', sql: 'id', cypher: 'n.id', kind: 'integer' },
      key: { sql: 'id', cypher: 'toString(n.id)' },
      match: `MATCH (n:${labels.extract}) WHERE NOT n:Stub`,
      properties: [
        text('kind', 'kind', 'n.kind'),
        text('value', 'value', 'n.value'),
        text('meta', 'meta', 'n.meta'),
        time('created_at', 'n'),
        time('last_updated_at', 'n'),
        nothingBut('n', ['id', 'kind', 'value', 'meta', 'created_at', 'last_updated_at']),
      ],
    },
    {
      table: 'entity_extract',
      page: text('entity_id', 'entity_id', 'n.id'),
      key: {
        sql: `entity_id || ' ' || extract_id || ' ' || link_type`,
        cypher: `n.id + ' ' + toString(x.id) + ' ' +
            coalesce(r.link_type, CASE type(r) WHEN '${types.observed}' THEN 'observed' ELSE 'sighted' END)`,
      },
      match: `MATCH (n:${labels.entity})-[r:${types.observed}|${types.sighted}|${types.linked}]->(x:${labels.extract}) WHERE true`,
      properties: [
        text(
          'type',
          `case link_type when 'observed' then '${types.observed}' when 'sighted' then '${types.sighted}' else '${types.linked}' end`,
          'type(r)',
        ),
        time('last_updated_at', 'r'),
        nothingBut('r', ['link_type', 'last_updated_at']),
      ],
    },
  ];
}

/** Of the graph: nodes without stubs, relationships, stubs, and those of them that nothing holds. */
export function totalsQuery({ labels, types }: GraphNames): string {
  const { entity, extract } = labels;
  return `RETURN [
    COUNT { MATCH (n:${entity}|${extract}) WHERE NOT n:Stub },
    COUNT { ()-[:${Object.values(types).join('|')}]->() },
    COUNT { MATCH (n:${entity}|${extract}) WHERE n:Stub },
    COUNT { MATCH (n:${entity}|${extract}) WHERE n:Stub AND NOT (n)--() }
  ] AS row`;
}

function text(name: string, sql: string, cypher: string): Property {
  return { name, sql, cypher, kind: 'text' };
}

/** Microseconds since the Unix epoch; what 64 bits do not hold is at their bounds. */
function time(column: string, variable: string): Property {
  const sql = `least(greatest(extract(epoch from ${column}) * 1000000, -9223372036854775808), 9223372036854775807)::bigint`;
  return { name: column, sql, cypher: `${variable}.${column}`, kind: 'integer' };
}

/** The first of all other properties that are not internal: there is none. */
function nothingBut(variable: string, mapped: readonly string[]): Property {
  const others = `[key IN keys(${variable}) WHERE NOT key STARTS WITH '_' AND NOT key IN ['${mapped.join("', '")}']]`;
  return text('properties not mapped', 'null', `head(${others})`);
}
