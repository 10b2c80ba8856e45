/** A TCP proxy before a server, for what networks do: going silent without closing, or damaging what they carry. */
import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';

export interface Proxy {
  /** The server's URL by way of the proxy. */
  readonly url: string;
  /** From now on nothing passes, in either direction, and nothing is closed: a half-open connection. */
  silence(): void;
  close(): Promise<void>;
}

export async function createProxy(
  serverUrl: string,
  {
    fromServer = (bytes) => bytes,
    fromClient = (bytes) => bytes,
  }: { fromServer?: (bytes: Buffer) => Buffer; fromClient?: (bytes: Buffer) => Buffer } = {},
): Promise<Proxy> {
  const target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let silent = false;

  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
    }
    client.on('data', (bytes: Buffer) => {
      if (!silent) upstream.write(fromClient(bytes));
    });
    upstream.on('data', (bytes: Buffer) => {
      if (!silent) client.write(fromServer(bytes));
    });
    client.on('close', () => {
      if (!silent) upstream.destroy();
    });
    upstream.on('close', () => {
      if (!silent) client.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);

  return {
    url: url.href,
    silence() {
      silent = true;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
