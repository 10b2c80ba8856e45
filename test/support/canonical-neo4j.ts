/**
 * Canonical content of the graph, computed by Cypher alone (see compare.ts), and what must hold of a graph by itself:
 * nothing is there twice, nothing lacks its key, every node has the one label of its type, a stub has relationships
 * and nothing else. Stubs, being no rows, have no lines.
 */
import neo4j, { type Driver, type Session } from 'neo4j-driver';
import { type Canonical, CanonicalBuilder } from './compare.ts';

/** Tests own their labels and relationship types. */
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

const TYPE_LABELS: ReadonlyMap<string, string> = new Map([
  ['campaign', 'Campaign'],
  ['course-of-action', 'CourseOfAction'],
  ['eclecticiq-sighting', 'EclecticiqSighting'],
  ['exploit-target', 'ExploitTarget'],
  ['incident', 'Incident'],
  ['indicator', 'Indicator'],
  ['package', 'Package'],
  ['report', 'Report'],
  ['threat-actor', 'ThreatActor'],
  ['ttp', 'Ttp'],
]);

export async function hashNeo4j(
  driver: Driver,
  names: GraphNames = SHIPPED_NAMES,
  database = 'neo4j',
): Promise<Canonical> {
  const canonical = new CanonicalBuilder();
  const session = driver.session({ database, defaultAccessMode: neo4j.session.READ });
  try {
    for (const section of sections(names)) {
      let previousKey = '';
      for await (const row of session.run(section.query)) {
        const cells = row.get('cells') as unknown[];
        const stray = row.get('stray') as string[];
        const key = JSON.stringify(cells.slice(0, section.keyLength).map(cell));
        if (key === previousKey) canonical.problem(`${section.name} ${key} is there twice`);
        previousKey = key;
        if (section.name === 'entity') checkLabels(canonical, row.get('labels') as string[], cells);
        canonical.add(`[${[section.name, ...cells, ...stray].map(cell).join(', ')}]`);
      }
    }
    for (const [problem, query] of Object.entries(wrongs(names))) {
      const count = await countOf(session, query);
      if (count > 0) canonical.problem(`${count} ${problem}`);
    }
  } finally {
    await session.close();
  }
  return canonical.build();
}

function sections({
  labels,
  types,
}: GraphNames): readonly { name: string; keyLength: number; query: string }[] {
  const entity = quoted(labels.entity);
  const extract = quoted(labels.extract);
  const observed = quoted(types.observed);
  const sighted = quoted(types.sighted);
  const linked = quoted(types.linked);
  return [
    {
      name: 'entity',
      keyLength: 1,
      query: `MATCH (n:${entity}) WHERE n.id IS NOT NULL AND NOT n:Stub
        RETURN [n.id, n.data_id, n.type, n.title, n.tlp, n.created_at, n.last_updated_at, n.data, n.meta] AS cells,
          [label IN labels(n) WHERE label <> '${labels.entity}' AND NOT label STARTS WITH '_'] AS labels,
          ${stray('n', ['id', 'data_id', 'type', 'title', 'tlp', 'created_at', 'last_updated_at', 'data', 'meta'])}
        ORDER BY n.id`,
    },
    {
      name: 'relation',
      keyLength: 1,
      query: `MATCH (s)-[r:${quoted(types.related)}]->(t) WHERE r.id IS NOT NULL
        RETURN [r.id, r.key, r.subtype, r.last_updated_at, s.id, t.id] AS cells,
          ${stray('r', ['id', 'key', 'subtype', 'last_updated_at'])}
        ORDER BY r.id`,
    },
    {
      name: 'extract',
      keyLength: 1,
      query: `MATCH (n:${extract}) WHERE n.id IS NOT NULL AND NOT n:Stub
        RETURN [n.id, n.kind, n.value, n.meta, n.created_at, n.last_updated_at] AS cells,
          ${stray('n', ['id', 'kind', 'value', 'meta', 'created_at', 'last_updated_at'])}
        ORDER BY n.id`,
    },
    {
      name: 'link',
      keyLength: 4,
      query: `MATCH (s)-[r:${observed}|${sighted}|${linked}]->(t)
        WITH s, r, t, CASE type(r) WHEN '${types.observed}' THEN 'observed' WHEN '${types.sighted}' THEN 'sighted'
          ELSE 'linked' END AS role
        RETURN [s.id, t.id, role, r.link_type, r.last_updated_at] AS cells,
          ${stray('r', ['link_type', 'last_updated_at'])}
        ORDER BY s.id, t.id, CASE role WHEN 'linked' THEN r.link_type ELSE role END`,
    },
  ];
}

/** What there must be none of. */
function wrongs({ labels, types }: GraphNames): Readonly<Record<string, string>> {
  const entity = quoted(labels.entity);
  const extract = quoted(labels.extract);
  const related = quoted(types.related);
  const links = [types.observed, types.sighted, types.linked].map(quoted).join('|');
  return {
    'entities without an id': `MATCH (n:${entity}) WHERE n.id IS NULL RETURN count(n) AS count`,
    'extracts without an id': `MATCH (n:${extract}) WHERE n.id IS NULL RETURN count(n) AS count`,
    'relations without an id': `MATCH ()-[r:${related}]->() WHERE r.id IS NULL RETURN count(r) AS count`,
    'relations between other things than entities': `MATCH (s)-[r:${related}]->(t)
      WHERE NOT (s:${entity} AND t:${entity}) RETURN count(r) AS count`,
    'links between other things than an entity and an extract': `MATCH (s)-[r:${links}]->(t)
      WHERE NOT (s:${entity} AND t:${extract}) RETURN count(r) AS count`,
    'nodes that are both an entity and an extract': `MATCH (n:${entity}:${extract}) RETURN count(n) AS count`,
    'nodes with the id of another': [entity, extract]
      .map(
        (label) =>
          `MATCH (n:${label}) WITH n.id AS id, count(*) AS nodes WHERE nodes > 1 RETURN count(*) AS count`,
      )
      .join(' UNION ALL '),
    'stubs without a relationship': [entity, extract]
      .map((label) => `MATCH (n:${label}:Stub) WHERE NOT (n)--() RETURN count(n) AS count`)
      .join(' UNION ALL '),
    'stubs with content': `MATCH (n:${entity}:Stub) WHERE n.type IS NOT NULL OR n.data IS NOT NULL
      OR any(label IN labels(n) WHERE label IN ['${[...TYPE_LABELS.values()].join("', '")}'])
      RETURN count(n) AS count
      UNION ALL MATCH (n:${extract}:Stub) WHERE n.kind IS NOT NULL OR n.value IS NOT NULL RETURN count(n) AS count`,
  };
}

async function countOf(session: Session, query: string): Promise<number> {
  const { records } = await session.run(query);
  return records.reduce((sum, record) => sum + Number(record.get('count')), 0);
}

function checkLabels(
  canonical: CanonicalBuilder,
  labels: readonly string[],
  cells: readonly unknown[],
): void {
  const [id, , type] = cells;
  const expected = TYPE_LABELS.get(String(type));
  if (labels.join() !== (expected ?? '')) {
    canonical.problem(
      `entity ${String(id)} of type ${String(type)} is labelled ${labels.join(', ') || 'only as an entity'}`,
    );
  }
}

/** Names of properties that are neither mapped nor internal. */
function stray(variable: string, mapped: readonly string[]): string {
  return `[key IN keys(${variable}) WHERE NOT key STARTS WITH '_' AND NOT key IN ['${mapped.join("', '")}']] AS stray`;
}

/** JSON text; what is neither text nor integer shows as what it is, and so equals nothing in PostgreSQL. */
function cell(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint' || neo4j.isInt(value)) return value.toString();
  return `${typeof value} ${JSON.stringify(value)}`;
}

function quoted(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}
