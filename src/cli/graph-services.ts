/** `graph publish`, `project` and `replicate`: services that run until they are told to stop. */
import { runUntilStopped, type Service, together } from '../runtime/service.ts';
import { graphContext } from './graph-context.ts';

export type ServiceName = 'publish' | 'project' | 'replicate';

/** Throws before anything runs if settings, mapping or a server is not as it must be. */
export async function runService(
  name: ServiceName,
  options: { readonly managePublication: boolean },
): Promise<void> {
  const context = graphContext(name, [
    'DATABASE_URL',
    'KAFKA_BROKERS',
    ...(name === 'publish' ? [] : (['NEO4J_URI'] as const)),
  ]);
  if (context === null) {
    process.stderr.write('The graph is switched off (GRAPH_ENABLED=false): nothing to do.\n');
    return;
  }
  const services: Service[] = [];
  if (name !== 'project') {
    const { publishService } = await import('../pipelines/publish/publish.ts');
    services.push(publishService({ ...context, ...options }));
  }
  if (name !== 'publish') {
    const { projectService } = await import('../pipelines/project/project.ts');
    services.push(projectService(context));
  }
  await runUntilStopped(together(services), context.log);
}
