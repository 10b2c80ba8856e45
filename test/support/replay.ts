/** What tests of `graph replay` look at: its report, and everything that the graph holds of a platform. */
import { createHash } from 'node:crypto';
import type { Platform } from './platform.ts';

/** `public.entity` → its numbers, by the words beside them. */
export function replayReport(stdout: string): Record<string, Record<string, number>> {
  const lines = stdout.trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [table = '', counts = ''] = line.split(': ');
      const parts = counts.split(', ').map((part) => /^(.*?) ?(\d+) ?(.*)$/.exec(part) ?? []);
      return [
        table,
        Object.fromEntries(parts.map(([, before, n, after]) => [`${before}${after}`, Number(n)])),
      ];
    }),
  );
}

/** Bookkeeping included. */
export async function graphAsItIs({ cypher, name, names }: Platform): Promise<string> {
  const { entity, extract } = names.labels;
  const nodes = await cypher(
    `MATCH (n) WHERE n.namespace = $name OR any(label IN labels(n) WHERE label IN $labels)
     RETURN labels(n) AS labels, properties(n) AS properties`,
    { name, labels: [entity, extract] },
  );
  const relationships = await cypher(
    `MATCH (a)-[r]->(b) WHERE a:${entity} OR a:${extract}
     RETURN type(r) AS type, properties(r) AS properties, a.id AS from, b.id AS to`,
  );
  const lines = [...nodes, ...relationships].map((row) => JSON.stringify(row, sortedAsText));
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex');
}

function sortedAsText(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `$Entity`, `$Extract`, `$RELATED` and `$OBSERVED` in the query are the platform's own. */
export function named({ names: { labels, types } }: Platform, query: string): string {
  return query
    .replaceAll('$Entity', labels.entity)
    .replaceAll('$Extract', labels.extract)
    .replaceAll('$RELATED', types.related)
    .replaceAll('$OBSERVED', types.observed);
}
