/**
 * Waits for all of them, then throws the first error, if any. For work on a connection that is closed afterwards: what is
 * still under way then may open another, which nobody closes.
 */
export async function allOf<const T extends readonly unknown[]>(
  work: T,
): Promise<{ -readonly [P in keyof T]: Awaited<T[P]> }> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}
