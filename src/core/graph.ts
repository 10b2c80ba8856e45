/**
 * Graph mutations: what a record asks of the graph, decided without knowing what the graph holds. Fences (positions,
 * tombstones, floors) are the writer's, because only a lock inside Neo4j can decide them (I7).
 */
import type { Position } from './position.ts';

/** What Neo4j stores: bigint is its integer. */
export type GraphValue = string | bigint | boolean | null;

interface MutationBase {
  /** `schema.name`: names the table's mapping. */
  readonly table: string;
  readonly position: Position;
}

interface RowMutation extends MutationBase {
  /** Value of the key property. */
  readonly key: string | bigint;
}

export interface NodeUpsert extends RowMutation {
  readonly kind: 'node-upsert';
  /** Label of the node's type, null for just the base label. */
  readonly typeLabel: string | null;
  /** Of the mapping's properties, in their order. */
  readonly values: readonly GraphValue[];
}

export interface NodeDelete extends RowMutation {
  readonly kind: 'node-delete';
}

export interface RelationshipUpsert extends RowMutation {
  readonly kind: 'relationship-upsert';
  readonly type: string;
  readonly from: string | bigint;
  readonly to: string | bigint;
  /** Of the variant's properties, in their order. */
  readonly values: readonly GraphValue[];
  /**
   * To be looked for under all types of the table: its key may stand under one that an earlier mapping gave it. True of
   * whatever repairs; a change in the stream does without.
   */
  readonly thorough: boolean;
}

export interface RelationshipDelete extends RowMutation {
  readonly kind: 'relationship-delete';
  readonly type: string;
}

export interface Truncate extends MutationBase {
  readonly kind: 'truncate';
}

export type KeyedMutation = NodeUpsert | NodeDelete | RelationshipUpsert | RelationshipDelete;
export type Mutation = KeyedMutation | Truncate;
