import { describe, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { targetUri } from '../../src/cli/target-uri.ts';

describe('the target of a rebuild', () => {
  it.each([
    ['bolt://green:7687', { uri: 'bolt://green:7687', database: 'neo4j' }],
    ['bolt://green:7687/', { uri: 'bolt://green:7687', database: 'neo4j' }],
    ['neo4j+s://green/threats', { uri: 'neo4j+s://green', database: 'threats' }],
    ['bolt+ssc://[::1]:7687/a%20b', { uri: 'bolt+ssc://[::1]:7687', database: 'a b' }],
  ])('%s', (text, expected) => {
    expect(targetUri(text)).toEqual(expected);
  });

  it.each([
    ['green:7687', /must be a URI/],
    ['http://green:7687', /must be a URI/],
    ['bolt://', /must be a URI/],
    ['', /must be a URI/],
    ['bolt://neo4j:s3cr3t@green:7687', /TARGET_NEO4J_PASSWORD/],
    ['bolt://green:7687/a/b', /only the name/],
    ['neo4j://green:7687/a?policy=eu', /only the name/],
    ['bolt://green:7687/%zz', /only the name/],
  ])('is not %s', (text, why) => {
    try {
      targetUri(text);
      expect.unreachable();
    } catch (error) {
      expect(isAppError(error, 'USAGE')).toBe(true);
      expect((error as Error).message).toMatch(why);
      expect((error as Error).message).not.toContain('s3cr3t');
    }
  });
});
