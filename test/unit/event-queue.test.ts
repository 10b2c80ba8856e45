import { describe, expect, it } from 'vitest';
import { createEventQueue } from '../../src/postgres/event-queue.ts';

function create(highWaterBytes = 10_000) {
  const socket: string[] = [];
  const queue = createEventQueue<number>({
    highWaterBytes,
    onFull: () => socket.push('paused'),
    onEmptied: () => socket.push('resumed'),
  });
  return { queue, reader: queue[Symbol.asyncIterator](), socket };
}

describe('event queue', () => {
  it('hands out all that has come in, in order', async () => {
    const { queue, reader } = create();
    queue.push(1, 1);
    queue.push(2, 1);
    await expect(reader.next()).resolves.toEqual({ done: false, value: [1, 2] });
  });

  it('wakes a waiting reader with everything of the same tick', async () => {
    const { queue, reader } = create();
    const next = reader.next();
    queue.push(1, 1);
    queue.push(2, 1);
    await expect(next).resolves.toEqual({ done: false, value: [1, 2] });
  });

  it('pauses once when full, resumes once when emptied', async () => {
    const { queue, reader, socket } = create();
    for (let i = 0; i < 5; i += 1) queue.push(i, 4_000);
    expect(socket).toEqual(['paused']);
    await reader.next();
    expect(socket).toEqual(['paused', 'resumed']);
  });

  it('is filled by many small events too', () => {
    const { queue, socket } = create();
    for (let i = 0; i < 100; i += 1) queue.push(i, 1);
    expect(socket).toEqual(['paused']);
  });

  it('hands out nothing after a failure, and keeps to the first', async () => {
    const { queue, reader } = create();
    queue.push(1, 1);
    queue.fail(new Error('first'));
    queue.fail(new Error('second'));
    queue.finish();
    queue.push(2, 1);
    await expect(reader.next()).rejects.toThrow('first');
    await expect(reader.next()).rejects.toThrow('first');
  });

  it('wakes a waiting reader with the failure', async () => {
    const { queue, reader } = create();
    const next = reader.next();
    queue.fail(new Error('first'));
    await expect(next).rejects.toThrow('first');
  });

  it('is done once finished, whatever was queued', async () => {
    const { queue, reader } = create();
    queue.push(1, 1);
    queue.finish();
    await expect(reader.next()).resolves.toEqual({ done: true, value: undefined });
  });
});
