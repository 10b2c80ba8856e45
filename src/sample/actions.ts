/**
 * What users and feeds do to the platform, one action at a time: statements, and what is known afterwards. An action
 * that finds nothing to act on has no statements.
 *
 * New rows have new random ids, so that one workload can follow another. `last_updated_at` always moves: to the time of
 * the change, or one microsecond on if it was in the future.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { KnownEntity, KnownRows } from './known-rows.ts';
import type { Random } from './random.ts';
import { ENTITY_TYPES, type EntityType, qualified, type ReplicatedTable } from './tables.ts';
import { prose, title, word } from './text.ts';

export interface Scene {
  readonly schema: string;
  readonly known: KnownRows;
  readonly draw: Random;
}

export type Op = 'insert' | 'update' | 'delete';

export interface Statement {
  readonly op: Op;
  readonly table: ReplicatedTable;
  /** What follows `insert into <table>`, `update <table>` or `delete from <table>`. */
  readonly rest: string;
  readonly values: readonly unknown[];
}

const VERBS: Readonly<Record<Op, string>> = {
  insert: 'insert into',
  update: 'update',
  delete: 'delete from',
};

/** As a prepared statement, which a connection plans once: there are few texts and many executions. */
export function prepared(
  { op, table, rest, values }: Statement,
  schema: string,
): { readonly name: string; readonly text: string; readonly values: unknown[] } {
  const text = `${VERBS[op]} ${qualified(schema, table)} ${rest}`;
  return { name: createHash('sha1').update(text).digest('hex'), text, values: [...values] };
}

const NOTHING: readonly Statement[] = [];
const NOW = 'from clock_timestamp() as now';
const MOVED = `last_updated_at = greatest(clock_timestamp(), last_updated_at + interval '1 microsecond')`;
const RETOUCHED = `meta = meta || jsonb_build_object('ingestions', coalesce((meta->>'ingestions')::int, 0) + 1)`;
const THIS_LINK = 'entity_id = $1 and extract_id = $2 and link_type = $3';

const LINK_TYPES = ['observed', 'observed', 'sighted', 'test-mechanism'] as const;
const RELATION_KEYS = ['uses', 'related_to', 'indicates', 'reports'] as const;
const VERDICTS = ['good', 'bad', 'unknown'] as const;

export const ACTIONS = {
  create: (scene) => insertEntity(scene, newEntity(scene.draw)),

  /** New content. */
  edit: (scene) =>
    updateEntity(
      scene,
      `data = data || jsonb_build_object('title', $2::text, 'description', $3::text)`,
      title(scene.draw),
      prose(scene.draw, scene.draw.chance(0.02) ? 20_000 : 300),
    ),

  /** A re-ingestion that finds nothing new: a long description stays where it is. */
  touch: (scene) => updateEntity(scene, RETOUCHED),

  /** The same for some entities at once, with one time for all. */
  burst: ({ known, draw }) => {
    const ids = Array.from({ length: 5 + draw.below(10) }, () => known.entities.peek()?.id);
    return one(
      'update',
      'entity',
      `set ${RETOUCHED}, last_updated_at = greatest(now, last_updated_at + interval '1 microsecond')
       ${NOW} where id = any ($1::uuid[])`,
      ids.filter((id) => id !== undefined),
    );
  },

  /** The entity becomes another type. */
  retype: ({ known, draw }) => {
    const entity = known.entities.take();
    if (entity === undefined) return NOTHING;
    const type = draw.pick(ENTITY_TYPES);
    known.entities.add({ ...entity, type });
    return one('update', 'entity', `set type = $2, ${MOVED} where id = $1`, entity.id, type);
  },

  /** Its relations and links stay behind. */
  delete: ({ known }) => {
    const entity = known.entities.take();
    if (entity === undefined) return NOTHING;
    known.absent.add(entity);
    return deleteEntity(entity);
  },

  /** An entity that was deleted, or that a relation named before it existed. */
  appear: (scene) => {
    const entity = scene.known.absent.take();
    return entity === undefined ? NOTHING : insertEntity(scene, entity);
  },

  /** Deleted and created again in one transaction. */
  recreate: (scene) => {
    const entity = scene.known.entities.take();
    return entity === undefined ? NOTHING : [...deleteEntity(entity), ...insertEntity(scene, entity)];
  },

  relate: (scene) => insertRelation(scene, scene.known.entities.peek(), scene.known.entities.peek()),

  /** A relation whose source or target comes later, or never. */
  anticipate: (scene) => {
    const absent = newEntity(scene.draw);
    scene.known.absent.add(absent);
    const present = scene.known.entities.peek();
    return scene.draw.chance(0.5)
      ? insertRelation(scene, present, absent)
      : insertRelation(scene, absent, present);
  },

  /** A relation gets another end. */
  move: ({ known, draw }) => {
    const id = known.relations.peek();
    const end = known.entities.peek();
    if (id === undefined || end === undefined) return NOTHING;
    const side = draw.chance(0.5) ? 'source' : 'target';
    return one(
      'update',
      'relation',
      `set ${side}_id = $2, ${side}_type = $3, ${MOVED} where id = $1`,
      id,
      end.id,
      end.type,
    );
  },

  unrelate: ({ known }) => {
    const id = known.relations.take();
    return id === undefined ? NOTHING : one('delete', 'relation', 'where id = $1', id);
  },

  extract: ({ known, draw }) => {
    const id = BigInt.asUintN(63, BigInt(`0x${randomUUID().replaceAll('-', '')}`)).toString();
    known.extracts.add(id);
    return one(
      'insert',
      'extract',
      `select $1, 'domain', $2, '{"classification": "unknown"}', now, now ${NOW}`,
      id,
      `${word(draw)}.${id}.example`,
    );
  },

  classify: ({ known, draw }) => {
    const id = known.extracts.peek();
    if (id === undefined) return NOTHING;
    return one(
      'update',
      'extract',
      `set meta = meta || jsonb_build_object('classification', $2::text), ${MOVED} where id = $1`,
      id,
      draw.pick(VERDICTS),
    );
  },

  link: ({ known, draw }) => {
    const entity = known.entities.peek();
    const extract = known.extracts.peek();
    if (entity === undefined || extract === undefined) return NOTHING;
    const link = { entity_id: entity.id, extract_id: extract, link_type: draw.pick(LINK_TYPES) };
    known.links.add(link);
    return one(
      'insert',
      'entity_extract',
      `select $1, $2, $3, now, now ${NOW} on conflict do nothing`,
      link.entity_id,
      link.extract_id,
      link.link_type,
    );
  },

  unlink: ({ known }) => {
    const link = known.links.take();
    if (link === undefined) return NOTHING;
    const { entity_id, extract_id, link_type } = link;
    return one('delete', 'entity_extract', `where ${THIS_LINK}`, entity_id, extract_id, link_type);
  },

  /** A link gets another type, which is part of its key, unless it has a twin of that type. */
  relink: ({ schema, known, draw }) => {
    const link = known.links.take();
    if (link === undefined) return NOTHING;
    const { entity_id, extract_id, link_type } = link;
    const newType = draw.pick(LINK_TYPES);
    known.links.add({ ...link, link_type: newType });
    return one(
      'update',
      'entity_extract',
      `set link_type = $4, ${MOVED} where ${THIS_LINK} and ($3 = $4 or not exists (
        select from ${qualified(schema, 'entity_extract')}
        where entity_id = $1 and extract_id = $2 and link_type = $4))`,
      entity_id,
      extract_id,
      link_type,
      newType,
    );
  },
} as const satisfies Record<string, (scene: Scene) => readonly Statement[]>;

export type Action = keyof typeof ACTIONS;

function one(
  op: Op,
  table: ReplicatedTable,
  rest: string,
  ...values: readonly unknown[]
): readonly Statement[] {
  return [{ op, table, rest, values }];
}

function newEntity(draw: Random): KnownEntity {
  return { id: randomUUID(), type: draw.pick<EntityType>(ENTITY_TYPES) };
}

function insertEntity({ known, draw }: Scene, entity: KnownEntity): readonly Statement[] {
  known.entities.add(entity);
  const { id, type } = entity;
  const data = {
    id: `{https://intel.example/}${type}-${id}`,
    title: title(draw),
    description: prose(draw, 300),
  };
  const meta = { tlp_color: draw.pick(['WHITE', 'GREEN', 'AMBER', 'RED'] as const), ingestions: 1 };
  return one(
    'insert',
    'entity',
    `select $1, $2, $3, $4, now, now ${NOW}`,
    id,
    type,
    JSON.stringify(data),
    JSON.stringify(meta),
  );
}

function updateEntity({ known }: Scene, set: string, ...values: readonly string[]): readonly Statement[] {
  const entity = known.entities.peek();
  if (entity === undefined) return NOTHING;
  return one('update', 'entity', `set ${set}, ${MOVED} where id = $1`, entity.id, ...values);
}

function deleteEntity({ id }: KnownEntity): readonly Statement[] {
  return one('delete', 'entity', 'where id = $1', id);
}

function insertRelation(
  { known, draw }: Scene,
  source: KnownEntity | undefined,
  target: KnownEntity | undefined,
): readonly Statement[] {
  if (source === undefined || target === undefined) return NOTHING;
  const id = randomUUID();
  known.relations.add(id);
  return one(
    'insert',
    'relation',
    `select $1, $2, null, $3, $4, $5, $6, '{}', now, now ${NOW}`,
    id,
    draw.pick(RELATION_KEYS),
    source.id,
    source.type,
    target.id,
    target.type,
  );
}
