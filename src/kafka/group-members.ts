/** Who is at work in a consumer group. */
import type { KafkaClient } from './client.ts';
import { withAdmin } from './topics.ts';

/** Members whose session has not ended; 0 too if there never was such a group. */
export function countGroupMembers(kafka: KafkaClient, groupId: string): Promise<number> {
  return withAdmin(kafka, async (admin) => {
    const { groups } = await admin.describeGroups([groupId]);
    return groups.reduce((sum, { members }) => sum + members.length, 0);
  });
}
