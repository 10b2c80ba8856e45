/** `--into`: the server, and the database on it, of the graph that is to be filled. */
import { AppError } from '../core/errors.ts';

export interface TargetUri {
  readonly uri: string;
  readonly database: string;
}

const SCHEMES = /^(bolt|neo4j)(\+s|\+ssc)?:$/;
const DEFAULT_DATABASE = 'neo4j';

/** Throws USAGE, without quoting it: it may hold a password, though it should not. */
export function targetUri(text: string): TargetUri {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !SCHEMES.test(url.protocol) || url.hostname === '')
    throw refused('it must be a URI bolt://host:port[/database] or neo4j://…');
  if (url.username !== '' || url.password !== '')
    throw refused('give credentials in TARGET_NEO4J_USERNAME and TARGET_NEO4J_PASSWORD');
  const [database = '', ...more] = url.pathname.split('/').slice(1);
  const name = decoded(database);
  if (name === null || more.length > 0 || url.search !== '' || url.hash !== '')
    throw refused('after the server only the name of a database may follow');
  return { uri: `${url.protocol}//${url.host}`, database: name === '' ? DEFAULT_DATABASE : name };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function refused(why: string): AppError {
  return new AppError('USAGE', `--into: ${why}.`);
}
