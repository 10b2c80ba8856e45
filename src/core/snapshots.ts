/**
 * Which transactions a snapshot sees (I4). A transaction can be decoded, and be in Kafka, before a reader sees it: it
 * waits for a synchronous standby, in no order with others. So what is received stays in a set until a snapshot has
 * seen it, never leaving by age or count; the set is part of what is recorded, and survives a restart.
 */

/** Both ends included, as xid8: 64 bits, never wrapping around. */
export type XidRange = readonly [from: bigint, to: bigint];

/** `pg_current_snapshot()`. */
export interface Snapshot {
  /** All below have ended. */
  readonly xmin: bigint;
  /** None from here on has. */
  readonly xmax: bigint;
  /** Between the two: those that run. Ascending. */
  readonly running: readonly bigint[];
}

/** `xmin:xmax:running,…`. Throws RangeError on anything else. */
export function parseSnapshot(text: string): Snapshot {
  const match = /^(\d+):(\d+):((?:\d+,)*\d+)?$/.exec(text);
  if (match === null) throw new RangeError('a snapshot is written xmin:xmax:xid,…');
  const [, xmin = '', xmax = '', running = ''] = match;
  const xids = running === '' ? [] : running.split(',').map(BigInt);
  return { xmin: BigInt(xmin), xmax: BigInt(xmax), running: xids };
}

/** The stream's 32 bits as xid8: the one nearest to `near`, for PostgreSQL lets no two in use be further apart. */
export function widenXid(xid: number, near: bigint): bigint {
  return near + BigInt((xid - Number(near & 0xffff_ffffn)) | 0);
}

/** What of the ranges, ascending, the snapshot does not see. All in them have committed. */
export function invisibleIn(ranges: readonly XidRange[], { xmin, xmax, running }: Snapshot): XidRange[] {
  const left: XidRange[] = [];
  for (const [from, to] of ranges) {
    if (to < xmin) continue;
    for (const xid of running) if (xid >= from && xid <= to) left.push([xid, xid]);
    if (to >= xmax) left.push([from > xmax ? from : xmax, to]);
  }
  return left;
}

export interface UnseenXids {
  /** In any order; again makes no difference. */
  readonly received: (xid: number) => void;
  /** Forgets what the snapshot sees. */
  readonly seenBy: (snapshot: Snapshot) => void;
  /** Ascending, none in another. */
  readonly ranges: () => readonly XidRange[];
  /** A set of its own, which begins as this one is now. */
  readonly fork: () => UnseenXids;
}

/** `recorded`: what an earlier session had not seen; `now`: any snapshot of this session's. */
export function createUnseenXids(recorded: readonly XidRange[], now: Snapshot): UnseenXids {
  return unseenXids(invisibleIn(recorded, now), now.xmax);
}

function unseenXids(begun: readonly XidRange[], beginsNear: bigint): UnseenXids {
  let ranges = [...begun];
  let near = beginsNear;

  function received(xid: bigint): void {
    // From the end: commits are nearly in the order of their xids.
    let after = ranges.length;
    while ((ranges[after - 1]?.[0] ?? xid) > xid) after -= 1;
    const before = ranges[after - 1];
    if (before !== undefined && xid <= before[1]) return;
    const next = ranges[after];
    const joinsLeft = before?.[1] === xid - 1n;
    const joinsRight = next?.[0] === xid + 1n;
    const range: XidRange = [joinsLeft ? before[0] : xid, joinsRight ? next[1] : xid];
    ranges.splice(joinsLeft ? after - 1 : after, Number(joinsLeft) + Number(joinsRight), range);
  }

  return {
    received(xid) {
      received(widenXid(xid, near));
    },
    seenBy(snapshot) {
      ranges = invisibleIn(ranges, snapshot);
      if (snapshot.xmax > near) near = snapshot.xmax;
    },
    ranges: () => [...ranges],
    fork: () => unseenXids(ranges, near),
  };
}
