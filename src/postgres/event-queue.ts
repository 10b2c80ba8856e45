/** The only queue between PostgreSQL and Kafka: bounded in bytes, and it stops the socket when it is full. */
export interface EventQueue<T> extends AsyncIterable<readonly T[]> {
  push(event: T, bytes: number): void;
  /** Nothing queued is handed out any more; the reader's next pull rejects. The first end counts. */
  fail(error: unknown): void;
  /** Nothing queued is handed out any more; the reader's next pull says that it is done. */
  finish(): void;
}

export interface QueueLimits {
  readonly highWaterBytes: number;
  readonly onFull: () => void;
  /** The reader has taken everything. */
  readonly onEmptied: () => void;
}

/** What an event costs beyond its bytes: its objects. */
const OVERHEAD_BYTES = 256;

export function createEventQueue<T>(limits: QueueLimits): EventQueue<T> {
  let events: T[] = [];
  let bytes = 0;
  let full = false;
  let ended: { readonly error: unknown } | 'finished' | null = null;
  let wake = ignore;

  function end(how: NonNullable<typeof ended>): void {
    if (ended !== null) return;
    ended = how;
    events = [];
    wake();
  }

  function take(): readonly T[] {
    const taken = events;
    events = [];
    bytes = 0;
    if (full) {
      full = false;
      limits.onEmptied();
    }
    return taken;
  }

  async function next(): Promise<IteratorResult<readonly T[], undefined>> {
    // Woken, not handed the event: all that comes in with the same chunk of the socket is taken at once.
    while (events.length === 0 && ended === null) await new Promise<void>((resolve) => (wake = resolve));
    wake = ignore;
    if (ended === 'finished') return { done: true, value: undefined };
    if (ended !== null) throw ended.error;
    return { done: false, value: take() };
  }

  return {
    push(event, size) {
      if (ended !== null) return;
      events.push(event);
      bytes += size + OVERHEAD_BYTES;
      wake();
      if (!full && bytes >= limits.highWaterBytes) {
        full = true;
        limits.onFull();
      }
    },
    fail(error) {
      end({ error });
    },
    finish() {
      end('finished');
    },
    [Symbol.asyncIterator]: () => ({ next }),
  };
}

function ignore(): void {
  // nobody waits
}
