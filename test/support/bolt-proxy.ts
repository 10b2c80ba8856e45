/** A TCP proxy before Neo4j that knows one message, COMMIT, and cuts the connection at it: before or after it passes. */
import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';

export interface BoltProxy {
  readonly url: string;
  /** The answer to each COMMIT from now on, or the COMMIT itself. */
  readonly cut: (what: 'nothing' | 'answer' | 'commit') => void;
  /** So many connections were cut. */
  readonly cuts: () => number;
  readonly close: () => Promise<void>;
}

/** A chunk of two bytes, a structure without fields, the signature of COMMIT, and the end of the message. */
const COMMIT = Buffer.from([0, 2, 0xb0, 0x12, 0, 0]);

export async function createBoltProxy(serverUrl: string): Promise<BoltProxy> {
  const target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let cuts = 0;
  let cutting: Parameters<BoltProxy['cut']>[0] = 'nothing';

  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    let answers = true;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
    }
    client.on('data', (bytes: Buffer) => {
      const commits = bytes.includes(COMMIT);
      if (commits && cutting === 'commit') {
        cuts += 1;
        client.destroy();
        return;
      }
      if (commits && cutting === 'answer') answers = false;
      upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => {
      // Once the server has answered, it has committed: only now the client is told nothing.
      if (answers) client.write(bytes);
      else {
        cuts += 1;
        client.destroy();
      }
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `bolt://127.0.0.1:${port}`,
    cut(what) {
      cutting = what;
    },
    cuts: () => cuts,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
