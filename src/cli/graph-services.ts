/** `graph publish`, `project` and `replicate`: services that run until they are told to stop. */
import { type AppError, describeError, isAppError } from '../core/errors.ts';
import { runUntilStopped, type Service, together } from '../runtime/service.ts';
import { type GraphContext, graphContext } from './graph-context.ts';

const FAILED = 1;

export type ServiceName = 'publish' | 'project' | 'replicate';

/**
 * Throws before anything runs if settings or mapping are not as they must be. A server that cannot be used at the start
 * ends the command with one line for each; one that goes away later is waited for.
 */
export async function runService(
  name: ServiceName,
  options: { readonly managePublication: boolean; readonly initialLoad: boolean },
): Promise<void> {
  const publishes = name !== 'project';
  const projects = name !== 'publish';
  const context = graphContext(name, [
    'DATABASE_URL',
    'KAFKA_BROKERS',
    ...(projects ? (['NEO4J_URI'] as const) : []),
  ]);
  if (context === null) {
    process.stderr.write('The graph is switched off (GRAPH_ENABLED=false): nothing to do.\n');
    return;
  }
  const unusable = await unusableServers(context, projects);
  if (unusable.length > 0) {
    for (const error of unusable) process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = 1;
    return;
  }
  const services: Service[] = [];
  if (publishes) {
    const { publishService } = await import('../pipelines/publish/publish.ts');
    services.push(publishService({ ...context, ...options }));
  }
  if (projects) {
    const { projectService } = await import('../pipelines/project/project.ts');
    services.push(projectService(context));
  }
  try {
    await runUntilStopped(together(services), context.log);
  } catch (error) {
    if (isAppError(error, 'SHUTDOWN_TIMEOUT')) leave(error);
    throw error;
  }
}

/** What is still open, at a server that says nothing, would keep the process. */
function leave(error: AppError): never {
  process.stderr.write(`${describeError(error)}\n`);
  process.exit(FAILED);
}

/** Asks each server once. */
async function unusableServers(context: GraphContext, projects: boolean): Promise<unknown[]> {
  const { databaseUrl, kafka, neo4j, log } = context;
  const [{ openDatabase }, { createKafka }, { withAdmin }, { connectNeo4j, verify }] = await Promise.all([
    import('../postgres/client.ts'),
    import('../kafka/client.ts'),
    import('../kafka/topics.ts'),
    import('../neo4j/client.ts'),
  ]);
  const askPostgres = async () => {
    const sql = openDatabase(databaseUrl);
    await sql.query('select').finally(() => sql.close());
  };
  const askKafka = () => withAdmin(createKafka(kafka, log), (admin) => admin.listTopics());
  const askNeo4j = async () => {
    const graph = connectNeo4j(neo4j, log);
    await verify(graph).finally(() => graph.close());
  };
  const answers = await Promise.allSettled([askPostgres(), askKafka(), ...(projects ? [askNeo4j()] : [])]);
  return answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as unknown] : []));
}
