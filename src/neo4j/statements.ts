/** The statements of each table, built once, with the parameters that name the table's keys and bookkeeping. */
import type { Mapping, NodeTarget, RelationshipTarget } from '../core/mapping.ts';
import { NOW, type Rule } from './cypher.ts';
import { createNodes, deleteNodes, sweepStubs, truncateNodes, upsertNodes } from './node-statements.ts';
import {
  createRelationships,
  deleteRelationships,
  truncateRelationships,
  upsertRelationships,
} from './relationship-statements.ts';

/** A page of what a truncate looks at: the first one, and those that follow. */
export interface Pages {
  readonly first: string;
  readonly next: string;
}

export interface Statements {
  readonly upsert: string;
  /** As `upsert`, and nothing of the row is left under what it was by an earlier mapping: see `RelationshipUpsert.thorough`. */
  readonly thorough: string;
  /** For rows that are not in the graph. */
  readonly create: string;
  readonly remove: string;
}

export interface NodeTable extends Statements {
  readonly kind: 'node';
  readonly target: NodeTarget;
  readonly parameters: TableParameters;
  readonly truncate: readonly Pages[];
}

export interface RelationshipTable {
  readonly kind: 'relationship';
  readonly target: RelationshipTarget;
  readonly parameters: TableParameters;
  /** By relationship type. */
  readonly byType: ReadonlyMap<string, Statements>;
  readonly truncate: readonly Pages[];
  /** Of the two ends, in the order in which labels are locked. */
  readonly sweep: readonly { readonly side: 0 | 1; readonly statement: string }[];
}

export type TableStatements = NodeTable | RelationshipTable;

export interface TableParameters {
  readonly namespace: string;
  readonly table: string;
  /** Id of the table's floor. */
  readonly floor: string;
  /** What the ids of its tombstones begin with; the key follows. */
  readonly tombstones: string;
  /** With the key properties of the table and of its ends. */
  readonly now: typeof NOW & { readonly key: string; readonly fromKey: string; readonly toKey: string };
}

export function statementsOf(mapping: Mapping, rule: Rule = 'newer'): ReadonlyMap<string, TableStatements> {
  const { namespace } = mapping.sink;
  return new Map(
    mapping.tables.map(({ table, target }): [string, TableStatements] => {
      const floor = `${namespace}|${table}`;
      const parameters = {
        namespace,
        table,
        floor,
        tombstones: `${floor}|`,
        now: {
          ...NOW,
          key: target.keyProperty,
          fromKey: target.kind === 'relationship' ? target.from.keyProperty : '',
          toKey: target.kind === 'relationship' ? target.to.keyProperty : '',
        },
      };
      return [
        table,
        target.kind === 'node'
          ? nodeTable(target, parameters, rule)
          : relationshipTable(target, parameters, rule),
      ];
    }),
  );
}

function nodeTable(target: NodeTarget, parameters: TableParameters, rule: Rule): NodeTable {
  const upsert = upsertNodes(target, rule);
  return {
    kind: 'node',
    target,
    parameters,
    upsert,
    thorough: upsert,
    create: createNodes(target),
    remove: deleteNodes(target, rule),
    truncate: [{ first: truncateNodes(target, false), next: truncateNodes(target, true) }],
  };
}

function relationshipTable(
  target: RelationshipTarget,
  parameters: TableParameters,
  rule: Rule,
): RelationshipTable {
  const variants = new Map([...target.type.byValue.values(), target.type.otherwise].map((v) => [v.type, v]));
  const remove = deleteRelationships(target, rule);
  return {
    kind: 'relationship',
    target,
    parameters,
    byType: new Map(
      [...variants].map(([type, variant]) => [
        type,
        {
          upsert: upsertRelationships(target, variant, rule, { thorough: false }),
          thorough: upsertRelationships(target, variant, rule, { thorough: variants.size > 1 }),
          create: createRelationships(target, variant),
          remove,
        },
      ]),
    ),
    truncate: [...variants.keys()].map((type) => ({
      first: truncateRelationships(target, type, false),
      next: truncateRelationships(target, type, true),
    })),
    sweep: ([0, 1] as const)
      .map((side) => ({ side, end: side === 0 ? target.from : target.to }))
      .sort((a, b) => (a.end.label < b.end.label ? -1 : 1))
      .map(({ side, end }) => ({ side, statement: sweepStubs(end) })),
  };
}
