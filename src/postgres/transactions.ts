/**
 * From the stream's messages to positioned changes (I5): a state machine without I/O.
 *
 * Flow: begin → changes, each with `(epoch, commit LSN, own LSN)` → commit. Begin carries the commit LSN (protocol
 * version 1, no streaming of open transactions), so a change has its position as it arrives and nothing is held back.
 *
 * Guarantee: positions ascend from transaction to transaction and never descend within one; rows of one multi-insert
 * share an own LSN. An `after` row is whole: a TOASTed value that an update did not touch is taken from the old row.
 *
 * On failure: a sequence that cannot be, AppError STREAM_PROTOCOL; an untouched value of a mapped column that
 * the old row does not hold, AppError SOURCE_CHANGED: nothing holds it.
 */
import {
  type Change,
  type Relation,
  type RowChange,
  type TransactionInfo,
  type Tuple,
  UNCHANGED,
} from '../core/change.ts';
import { AppError } from '../core/errors.ts';
import { incompleteChange } from '../core/incomplete.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '../core/lsn.ts';
import { type Position, hex, positionPrefix } from '../core/position.ts';
import type { Delete, Insert, Update } from './pgoutput.ts';
import type { StreamEvent } from './stream.ts';

/** All changes of the transaction were handed out before. */
export interface TransactionEnd {
  readonly op: 'commit';
  readonly transaction: TransactionInfo;
  /** Where the commit record ends: the LSN to acknowledge once everything is durable. */
  readonly endLsn: Lsn;
}

/** Between transactions: PostgreSQL has read its WAL up to here and there was nothing for us. */
export interface Idle {
  readonly op: 'idle';
  readonly lsn: Lsn;
}

export interface Transactions {
  /** null: the event carries nothing for the reader. */
  readonly push: (event: StreamEvent) => Change | TransactionEnd | Idle | null;
  /** Non-transactional logical messages, which have no place in the order of changes. */
  readonly skippedMessages: number;
}

export interface TransactionOptions {
  readonly epoch: number;
  /** A table under the name that it is mapped by; null: nobody wants its changes. By default as it is named. */
  readonly asMapped?: (relation: Relation) => Relation | null;
  /** Must the column's value be known? Asked only about an untouched TOASTed value without an old row. */
  readonly isMapped: (relation: Relation, column: string) => boolean;
}

interface Open {
  readonly info: TransactionInfo;
  readonly positionPrefix: string;
  lastOwnLsn: Lsn;
}

export function createTransactions({
  epoch,
  asMapped = (relation) => relation,
  isMapped,
}: TransactionOptions): Transactions {
  let open: Open | null = null;
  let skippedMessages = 0;

  function push(event: StreamEvent): Change | TransactionEnd | Idle | null {
    if (event.type === 'keepalive') return open === null ? { op: 'idle', lsn: event.walEnd } : null;
    const { message } = event;
    switch (message.kind) {
      case 'begin': {
        if (open !== null) throw outOfOrder('begin', 'inside a transaction');
        const { xid, commitLsn, commitTimeMicros } = message;
        open = {
          info: { xid, commitLsn, commitTimeMicros },
          positionPrefix: positionPrefix(epoch, commitLsn),
          lastOwnLsn: LSN_ZERO,
        };
        return null;
      }
      case 'commit': {
        if (open === null) throw outOfOrder('commit', 'outside a transaction');
        const { info } = open;
        if (message.commitLsn !== info.commitLsn) throw outOfOrder('commit', 'of another transaction');
        open = null;
        return { op: 'commit', transaction: info, endLsn: message.endLsn };
      }
      case 'insert':
      case 'update':
      case 'delete': {
        const relation = asMapped(message.relation);
        return relation === null ? null : rowChange(message, relation, event.lsn);
      }
      case 'truncate': {
        const relations = message.relations.flatMap((relation) => asMapped(relation) ?? []);
        return { op: 't', relations, ...placeOf('truncate', event.lsn) };
      }
      case 'message':
        if (message.transactional) {
          const { prefix, content } = message;
          return { op: 'm', prefix, content, ...placeOf('message', event.lsn) };
        }
        skippedMessages += 1;
        return null;
      case 'relation':
      case 'type':
      case 'origin':
        return null;
    }
  }

  function rowChange(message: Insert | Update | Delete, relation: Relation, lsn: Lsn): RowChange {
    // Field by field: a spread costs as much as decoding a cell.
    const { position, ownLsn, transaction } = placeOf(message.kind, lsn);
    const place = (op: RowChange['op'], before: Tuple | null, after: Tuple | null) => {
      return { op, relation, before, after, position, ownLsn, transaction };
    };
    switch (message.kind) {
      case 'insert':
        return place('c', null, message.after);
      case 'update':
        return place('u', message.before, fill(message, relation));
      case 'delete':
        return place('d', message.before, null);
    }
  }

  function placeOf(what: string, lsn: Lsn): Pick<Change, 'position' | 'ownLsn' | 'transaction'> {
    if (open === null) throw outOfOrder(what, 'outside a transaction');
    // PostgreSQL sends them ascending. Were one to go back, its change would lose against the one before it.
    const ownLsn = maxLsn(lsn, open.lastOwnLsn);
    open.lastOwnLsn = ownLsn;
    return { position: `${open.positionPrefix}${hex(ownLsn)}` as Position, ownLsn, transaction: open.info };
  }

  /** The new row, untouched TOASTed values taken from the old one. */
  function fill({ before, after }: Update, relation: Relation): Tuple {
    if (!after.includes(UNCHANGED)) return after;
    const whole = relation.replicaIdentity === 'f' ? before : null;
    return after.map((cell, index) => {
      if (cell !== UNCHANGED) return cell;
      const column = relation.columns[index];
      const old = whole?.[index];
      // What was not touched was not null: the old row of a partition holds nulls where its replica identity ends.
      if (old != null && old !== UNCHANGED) return old;
      if (column === undefined || isMapped(relation, column.name))
        throw incompleteChange(relation, 'a large value that it did not touch');
      return cell;
    });
  }

  return {
    push,
    get skippedMessages() {
      return skippedMessages;
    },
  };
}

function outOfOrder(what: string, where: string): AppError {
  return new AppError('STREAM_PROTOCOL', `PostgreSQL sent a ${what} ${where}.`);
}
