import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { generate, type GenerateOptions, type Step } from '../../src/sample/generator.ts';
import type { EntityRow, ExtractRow, LinkRow, RelationRow } from '../../src/sample/rows.ts';

interface Content {
  readonly entities: Map<string, EntityRow>;
  readonly relations: Map<string, RelationRow>;
  readonly extracts: Map<string, ExtractRow>;
  readonly links: Map<string, LinkRow>;
  readonly touched: number;
  readonly deleted: number;
  /** Relations that came before the entity they start from. */
  readonly early: number;
}

/** What is left when all steps are done; fails where a primary key would. */
function contentOf(options: GenerateOptions): Content {
  const content = {
    entities: new Map(),
    relations: new Map(),
    extracts: new Map(),
    links: new Map(),
  } as Content;
  let [touched, deleted, early] = [0, 0, 0];
  const add = <T>(rows: Map<string, T>, key: string, row: T): void => {
    if (rows.has(key)) throw new Error(`twice: ${key}`);
    rows.set(key, row);
  };
  for (const step of generate(options)) {
    if (step.op === 'touch') {
      for (const row of step.rows) {
        const before = content.entities.get(row.id);
        if (before === undefined) throw new Error(`touched before it is there: ${row.id}`);
        content.entities.set(row.id, { ...before, ...row });
        touched++;
      }
    } else if (step.op === 'delete') {
      const rows: Map<string, unknown> = step.table === 'entity' ? content.entities : content.relations;
      for (const { id } of step.rows) {
        if (!rows.delete(id)) throw new Error(`deleted before it is there: ${id}`);
        deleted++;
      }
    } else if (step.table === 'entity') for (const row of step.rows) add(content.entities, row.id, row);
    else if (step.table === 'extract') for (const row of step.rows) add(content.extracts, row.id, row);
    else if (step.table === 'relation') {
      for (const row of step.rows) {
        add(content.relations, row.id, row);
        if (!content.entities.has(row.source_id)) early++;
      }
    } else
      for (const row of step.rows)
        add(content.links, `${row.entity_id} ${row.extract_id} ${row.link_type}`, row);
  }
  return { ...content, touched, deleted, early };
}

function digest(steps: Iterable<Step>): string {
  const hash = createHash('sha256');
  for (const step of steps) hash.update(JSON.stringify(step));
  return hash.digest('hex');
}

const share = (part: number, whole: { readonly size: number }): number => part / whole.size;
const some = 4_000;
const content = contentOf({ seed: 11, entities: some });
const { entities, relations, extracts, links } = content;

describe('the generator', () => {
  it('gives the same bytes for the same seed and size, others for others', () => {
    const first = digest(generate({ seed: 3, entities: 1_500 }));
    expect(digest(generate({ seed: 3, entities: 1_500 }))).toBe(first);
    expect(digest(generate({ seed: 4, entities: 1_500 }))).not.toBe(first);
    expect(digest(generate({ seed: 3, entities: 1_501 }))).not.toBe(first);
  });

  it.each([0, 1, 2, 7, 499, 500, 501, 1_999])('ends with exactly %i entities', (size) => {
    expect(contentOf({ seed: 1, entities: size }).entities.size).toBe(size);
  });

  it('touches and deletes on the way', () => {
    expect(content.touched).toBe(some / 20);
    expect(content.deleted).toBeGreaterThan(some / 100);
    expect(content.early).toBeGreaterThan(100);
  });

  it('leaves 1 to 3 % of the relations dangling', () => {
    const dangling = [...relations.values()].filter(
      ({ source_id, target_id }) => !entities.has(source_id) || !entities.has(target_id),
    );
    expect(share(dangling.length, relations)).toBeGreaterThan(0.01);
    expect(share(dangling.length, relations)).toBeLessThan(0.03);
    expect(dangling.some(({ source_id }) => !entities.has(source_id))).toBe(true);
  });

  it('names the types that the ends of a relation have', () => {
    for (const { source_id, source_type, target_id, target_type } of relations.values()) {
      expect(entities.get(source_id)?.type ?? source_type).toBe(source_type);
      // A dangling target keeps the type it would have had.
      expect(entities.get(target_id)?.type ?? target_type).toBe(target_type);
    }
  });

  it("draws the ends of relations by Zipf's law", () => {
    const degrees = new Map<string, number>();
    for (const { target_id } of relations.values()) degrees.set(target_id, (degrees.get(target_id) ?? 0) + 1);
    const ordered = [...degrees.values()].sort((a, b) => b - a);
    const [most = 0, , , , , , , , , tenth = 0] = ordered;
    // Of 10 ranks, by 10^0.9.
    expect(most / tenth).toBeGreaterThan(5);
    expect(most / tenth).toBeLessThan(12);
    expect(ordered.length).toBeGreaterThan(some / 4);
  });

  it('links each indicator with 3 to 10 extracts, which it shares', () => {
    const perIndicator = new Map<string, Set<string>>();
    for (const { id, type } of entities.values()) if (type === 'indicator') perIndicator.set(id, new Set());
    for (const { entity_id, extract_id } of links.values()) {
      if (extracts.has(extract_id)) perIndicator.get(entity_id)?.add(extract_id);
    }
    for (const linked of perIndicator.values()) {
      expect(linked.size).toBeGreaterThanOrEqual(3);
      expect(linked.size).toBeLessThanOrEqual(10);
    }
    const times = new Map<string, number>();
    for (const { extract_id } of links.values()) times.set(extract_id, (times.get(extract_id) ?? 0) + 1);
    expect(share([...times.values()].filter((count) => count > 1).length, times)).toBeGreaterThan(0.5);
    expect([...links.values()].some(({ extract_id }) => !extracts.has(extract_id))).toBe(true);
  });

  it('has link types listed and, rarely, unlisted', () => {
    const count = (wanted: string): number =>
      [...links.values()].filter(({ link_type }) => link_type === wanted).length;
    expect(share(count('observed'), links)).toBeGreaterThan(0.7);
    expect(share(count('sighted'), links)).toBeGreaterThan(0.1);
    expect(count('test-mechanism')).toBeGreaterThan(0);
    expect(share(count('test-mechanism'), links)).toBeLessThan(0.03);
  });

  it('has descriptions of 20 kB, equal timestamps, and titles in every place', () => {
    const rows = [...entities.values()];
    const long = rows.filter(({ data }) => data.length > 20_000).length;
    expect(share(long, entities)).toBeGreaterThan(0.005);
    expect(share(long, entities)).toBeLessThan(0.02);
    const atTime = new Map<string, number>();
    for (const row of rows) atTime.set(row.last_updated_at, (atTime.get(row.last_updated_at) ?? 0) + 1);
    const equal = rows.filter((row) => (atTime.get(row.last_updated_at) ?? 0) > 1).length;
    expect(share(equal, entities)).toBeGreaterThan(0.2);
    expect(share(equal, entities)).toBeLessThan(0.5);
    for (const { created_at, last_updated_at } of rows) expect(last_updated_at > created_at).toBe(true);

    const titles = rows.map(({ data, meta }) => {
      const content = JSON.parse(data) as { title?: unknown; name?: unknown };
      const { title } = JSON.parse(meta) as { title?: unknown };
      return [typeof content.title, typeof content.name, typeof title].join();
    });
    expect(new Set(titles)).toEqual(
      new Set([
        'string,undefined,undefined',
        'undefined,string,undefined',
        'object,string,undefined',
        'object,undefined,undefined',
        'undefined,undefined,string',
        'number,undefined,string',
        'undefined,undefined,undefined',
      ]),
    );
  });

  it('has ids of extracts beyond 2^53', () => {
    expect([...extracts.keys()].filter((id) => !Number.isSafeInteger(Number(id))).length).toBe(2);
  });

  it('remembers nothing, however long it runs', () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const heapAfter = (steps: Iterator<Step>, count: number): number => {
      for (let n = 0; n < count; n++) expect(steps.next().done).toBe(false);
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const steps = generate({ seed: 1, entities: 1_000_000_000 });
    const early = heapAfter(steps, 60);
    const late = heapAfter(steps, 240);
    // The rows of so many steps take some 30 MB.
    expect(late - early).toBeLessThan(5_000_000);
  }, 30_000);
});
