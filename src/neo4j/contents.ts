/**
 * The graph's side of a comparison by content: whatever bears a key of the table, in whichever of its types. Stubs stand
 * for no row, and are none.
 *
 * One statement per type: a seek by key has an index only where it names one.
 */
import { type Content, contentOfNode, contentOfRelationship } from '../core/content.ts';
import type { GraphKey } from '../core/keys.ts';
import {
  type EndMapping,
  type NodeTarget,
  type RelationshipTarget,
  relationshipTypes,
  type TableMapping,
} from '../core/mapping.ts';
import type { Graph, GraphRow } from './client.ts';
import { quote } from './cypher.ts';

export interface GraphElement {
  readonly key: GraphKey;
  /** Of the last change applied; empty if the projector did not write it. */
  readonly position: string;
  readonly content: Content;
}

export interface GraphContents {
  /** All of each key: more than one if it stands under several types. */
  readonly byKeys: (keys: readonly GraphKey[]) => Promise<readonly GraphElement[]>;
  /** Every key once: text, then integers, type by type. */
  readonly keyPages: (limit: number) => AsyncGenerator<readonly GraphKey[]>;
  /** Whatever has neither text nor an integer for a key: no page has it. */
  readonly countUnkeyed: () => Promise<number>;
}

/** Stubs that nothing holds. */
export interface IdleStubs {
  readonly keyPages: (limit: number) => AsyncGenerator<readonly GraphKey[]>;
  readonly among: (keys: readonly GraphKey[]) => Promise<readonly GraphKey[]>;
}

/** A pattern that binds `x`, and what must hold of it. */
interface Pattern {
  readonly match: string;
  readonly where: string;
  /** What has the index of the key. */
  readonly name: string;
}

export function graphContents(graph: Pick<Graph, 'run'>, { target }: TableMapping): GraphContents {
  const key = `x.${quote(target.keyProperty)}`;
  const lookUps =
    target.kind === 'node'
      ? [nodesByKey(target)]
      : relationshipTypes(target).map((type) => relationshipsByKey(target, type));
  const patterns =
    target.kind === 'node'
      ? [{ match: `(x:${quote(target.label)})`, where: 'NOT x:Stub', name: target.label }]
      : relationshipPatterns(target);

  return {
    async byKeys(keys) {
      const found = await Promise.all(lookUps.map((query) => graph.run(query, { keys })));
      return found.flat().map((row) => ({
        key: row['key'] as GraphKey,
        position: String(row['position']),
        content: contentIn(row),
      }));
    },
    async *keyPages(limit) {
      for (const pattern of patterns) yield* pagesOf(graph, pattern, target.keyProperty, limit);
    },
    async countUnkeyed() {
      const counts = await Promise.all(
        patterns.map(({ match, where }) =>
          graph.run(
            `MATCH ${match} WHERE ${where} AND NOT coalesce(${key} IS :: STRING NOT NULL | INTEGER NOT NULL, false)
             RETURN count(*) AS count`,
            {},
            { timeoutMs: Infinity },
          ),
        ),
      );
      return counts.flat().reduce((sum, row) => sum + Number(row['count']), 0);
    },
  };
}

export function idleStubs(graph: Graph, { label, keyProperty }: NodeTarget): IdleStubs {
  const idle = 'x:Stub AND NOT EXISTS { (x)--() }';
  return {
    keyPages: (limit) =>
      pagesOf(graph, { match: `(x:${quote(label)})`, where: idle, name: label }, keyProperty, limit),
    async among(keys) {
      const rows = await graph.run(
        `UNWIND $keys AS key MATCH (x:${quote(label)} {${quote(keyProperty)}: key}) WHERE ${idle} RETURN DISTINCT key`,
        { keys },
      );
      return rows.map((row) => row['key'] as GraphKey);
    },
  };
}

function nodesByKey({ label, keyProperty, labels }: NodeTarget): string {
  const types = [...new Set(labels?.byValue.values() ?? [])].map((name) => `'${name}'`).join(', ');
  return `UNWIND $keys AS key MATCH (x:${quote(label)} {${quote(keyProperty)}: key}) WHERE NOT x:Stub
    RETURN key, coalesce(x._position, '') AS position, properties(x) AS properties,
      [label IN labels(x) WHERE label IN [${types}]] AS labels`;
}

function relationshipsByKey({ keyProperty, from, to }: RelationshipTarget, type: string): string {
  const end = (variable: string, { label, keyProperty: endKey }: EndMapping) =>
    `CASE WHEN ${variable}:${quote(label)} THEN ${variable}.${quote(endKey)} END`;
  return `UNWIND $keys AS key MATCH (a)-[x:${quote(type)} {${quote(keyProperty)}: key}]->(b)
    RETURN key, coalesce(x._position, '') AS position, properties(x) AS properties,
      type(x) AS type, [${end('a', from)}, ${end('b', to)}] AS ends`;
}

function contentIn(row: GraphRow): Content {
  const properties = row['properties'] as Readonly<Record<string, unknown>>;
  return 'labels' in row
    ? contentOfNode(row['labels'] as string[], properties)
    : contentOfRelationship(String(row['type']), row['ends'] as [unknown, unknown], properties);
}

/** A key that stands under several types is found under the first. */
function relationshipPatterns(target: RelationshipTarget): Pattern[] {
  const key = quote(target.keyProperty);
  const types = relationshipTypes(target);
  return types.map((name, i) => {
    const earlier = types
      .slice(0, i)
      .map((other) => `NOT EXISTS { ()-[:${quote(other)} {${key}: x.${key}}]->() }`);
    return { match: `()-[x:${quote(name)}]->()`, where: ['true', ...earlier].join(' AND '), name };
  });
}

/** Text and integers have an order each; between them there is none. */
export const TEXTS = { kind: 'STRING', lowest: '' } as const;
export const INTEGERS = { kind: 'INTEGER', lowest: -(1n << 63n) } as const;
export const KEY_SPACES = [TEXTS, INTEGERS] as const;

async function* pagesOf(
  graph: Pick<Graph, 'run'>,
  { match, where, name }: Pattern,
  keyProperty: string,
  limit: number,
): AsyncGenerator<readonly GraphKey[]> {
  const key = `x.${quote(keyProperty)}`;
  for (const { kind, lowest } of KEY_SPACES) {
    let after: GraphKey | null = null;
    for (;;) {
      // The index has text in the order of its bytes, a sort that of UTF-16. Few may fit, of very many that are looked at.
      const [row]: readonly GraphRow[] = await graph.run(
        `MATCH ${match} USING INDEX SEEK x:${quote(name)}(${quote(keyProperty)})
         WHERE ${key} ${after === null ? '>=' : '>'} $after AND ${key} IS :: ${kind} NOT NULL AND ${where}
         WITH ${key} AS key ORDER BY key LIMIT $limit RETURN collect(key) AS keys`,
        { after: after ?? lowest, limit: BigInt(limit) },
        { timeoutMs: Infinity },
      );
      const keys = row?.['keys'] as GraphKey[];
      if (keys.length > 0) yield [...new Set(keys)];
      after = keys.at(-1) ?? null;
      if (keys.length < limit) break;
    }
  }
}
