/** The only reader of process.env: every setting that is not in a connector file. Each secret also as `NAME_FILE`. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError } from '../core/errors.ts';

const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

const environment = z.object({
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must be a URL postgres://…')
    .optional(),
  KAFKA_BROKERS: z.string().min(1).optional(),
  KAFKA_TLS: flag.default(false),
  KAFKA_TLS_CA_FILE: z.string().optional(),
  KAFKA_SASL_MECHANISM: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).optional(),
  KAFKA_SASL_USERNAME: z.string().optional(),
  KAFKA_SASL_PASSWORD: z.string().optional(),
  NEO4J_URI: z
    .string()
    .regex(/^(bolt|neo4j)(\+s|\+ssc)?:\/\//, 'must be a URI bolt://… or neo4j://…')
    .optional(),
  NEO4J_USERNAME: z.string().default('neo4j'),
  NEO4J_PASSWORD: z.string().default(''),
  NEO4J_DATABASE: z.string().default('neo4j'),
  TARGET_NEO4J_USERNAME: z.string().optional(),
  TARGET_NEO4J_PASSWORD: z.string().optional(),
  GRAPH_ENABLED: flag.default(true),
  CONNECTORS_DIR: z.string().optional(),
  LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

const SECRETS = ['DATABASE_URL', 'KAFKA_SASL_PASSWORD', 'NEO4J_PASSWORD', 'TARGET_NEO4J_PASSWORD'] as const;

export type Environment = z.infer<typeof environment>;

/** Throws CONFIG_INVALID naming every variable that is wrong; never its value. An empty variable counts as unset. */
export function readEnvironment(variables: NodeJS.ProcessEnv = process.env): Environment {
  const values = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
  for (const name of SECRETS) {
    const file = values[`${name}_FILE`];
    if (file === undefined) continue;
    if (values[name] !== undefined) throw invalid(`Set ${name} or ${name}_FILE, not both.`);
    try {
      values[name] = readFileSync(file, 'utf8').trim();
    } catch (cause) {
      throw invalid(`The file that ${name}_FILE names cannot be read.`, cause);
    }
  }
  const parsed = environment.safeParse(values);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')} ${expectation(issue)}`);
  throw invalid(`The environment is not valid: ${problems.join('; ')}.`);
}

function expectation(issue: z.core.$ZodIssue): string {
  return issue.code === 'invalid_value' ? `must be one of ${issue.values.join(', ')}` : issue.message;
}

/** Throws CONFIG_INVALID naming all of the variables that a command needs and that are not set. */
export function requireVariables<K extends keyof Environment>(
  env: Environment,
  names: readonly K[],
): { readonly [P in K]: NonNullable<Environment[P]> } {
  const missing = names.filter((name) => env[name] === undefined);
  if (missing.length > 0) throw invalid(`${missing.join(' and ')} must be set.`);
  return env as { readonly [P in K]: NonNullable<Environment[P]> };
}

function invalid(message: string, cause?: unknown): AppError {
  return new AppError('CONFIG_INVALID', message, { cause });
}
