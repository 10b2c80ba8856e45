/** Before the only graph is emptied: what that means for its readers. */

/** Assumed: what two cores do that the servers share. */
const REMOVED_A_SECOND = 40_000;
const BUILT_A_SECOND = 12_000;

export interface Emptying {
  readonly database: string;
  readonly uri: string;
  /** Nodes to be removed. */
  readonly nodes: number;
  /** Records to be applied, about. */
  readonly records: number;
}

export function describeEmptying({ database, uri, nodes, records }: Emptying): string {
  const seconds = nodes / REMOVED_A_SECOND + records / BUILT_A_SECOND;
  const time = seconds < 90 ? `${Math.ceil(seconds)} seconds` : `${Math.ceil(seconds / 60)} minutes`;
  return (
    `${nodes} nodes of the graph ${database} at ${uri} are removed, and it is built again from some ${records} records. ` +
    `Readers will see an incomplete graph for some ${time}, if ${REMOVED_A_SECOND} nodes are removed and ` +
    `${BUILT_A_SECOND} records applied a second, which is assumed and not measured.\n`
  );
}
