import type { JavaProgram } from './class-archive.ts';

/**
 * For servers that live for minutes, on few cores. Compiling is half of the CPU time that Neo4j takes then, most of it
 * for code that will not run long enough to pay for it: methods are optimised four times as late as by default. And one
 * collector's thread instead of G1's. Together a quarter of the CPU time of Neo4j in a test of a minute.
 */
const SHORT_LIVED: readonly string[] = [
  '-XX:+UseSerialGC',
  '-XX:Tier4InvocationThreshold=20000',
  '-XX:Tier4MinInvocationThreshold=2400',
  '-XX:Tier4CompileThreshold=60000',
  '-XX:Tier4BackEdgeThreshold=160000',
];

export function shortLived(program: JavaProgram): JavaProgram {
  return { ...program, flags: [...SHORT_LIVED, ...program.flags] };
}
