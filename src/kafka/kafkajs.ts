/** The inner modules of kafkajs 2.2.4 that we use. It ships no types for them. */
// @ts-expect-error -- no types
import clusterModule from 'kafkajs/src/cluster/index.js';
// @ts-expect-error -- no types
import requestQueueModule from 'kafkajs/src/network/requestQueue/index.js';
// @ts-expect-error -- no types
import errorModule from 'kafkajs/src/protocol/error.js';
import type { Cluster, ClusterOptions } from './cluster.ts';

/** Of the requests on one connection. */
export interface RequestQueue {
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests: () => void;
  scheduleCheckPendingRequests: () => void;
}

export const ClusterClass = clusterModule as new (options: ClusterOptions) => Cluster;
export const RequestQueueClass = requestQueueModule as { readonly prototype: RequestQueue };
export const { createErrorFromCode } = errorModule as {
  readonly createErrorFromCode: (code: number) => Error;
};
