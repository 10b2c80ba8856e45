/** A TCP proxy before a server, for what networks do: going silent without closing, or damaging what they carry. */
import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';

export interface Proxy {
  /** The server's URL by way of the proxy. */
  readonly url: string;
  /** Nothing passes any more on the connections that there are, and nothing is closed: they are half-open. */
  silence(): void;
  /** Cuts the connections that there are. */
  reset(): void;
  /** Connections made from now on lead to this server. */
  leadTo(serverUrl: string): void;
  /** Each way takes so long from now on. */
  delay(ms: number): void;
  /** Keeps what clients send until it is released: it arrives, but late. Nor do clients see that the server goes, and comes. */
  hold(): { readonly holds: (text: string) => boolean; readonly release: () => void };
  close(): Promise<void>;
}

export async function createProxy(
  serverUrl: string,
  {
    fromServer = (bytes) => bytes,
    fromClient = (bytes) => bytes,
  }: { fromServer?: (bytes: Buffer) => Buffer; fromClient?: (bytes: Buffer) => Buffer } = {},
): Promise<Proxy> {
  let target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let silenced = new Set<Socket>();
  let delayMs = 0;
  let held: { readonly bytes: Buffer; readonly send: () => void }[] | null = null;

  function pass(to: Socket, bytes: Buffer): void {
    if (delayMs === 0) to.write(bytes);
    else setTimeout(() => to.write(bytes), delayMs);
  }

  function track(socket: Socket, onClose: () => void): void {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      if (!silenced.has(socket)) onClose();
    });
  }

  const server = createServer((client) => {
    const reach = (): Socket => {
      const socket = connect(Number(target.port), target.hostname);
      track(socket, () => {
        if (held === null) client.destroy();
      });
      socket.on('data', (bytes: Buffer) => {
        if (!silenced.has(socket)) pass(client, fromServer(bytes));
      });
      return socket;
    };
    let upstream = reach();
    track(client, () => upstream.destroy());
    client.on('data', (bytes: Buffer) => {
      if (silenced.has(client)) return;
      const send = () => {
        if (upstream.destroyed && !client.destroyed) upstream = reach();
        pass(upstream, fromClient(bytes));
      };
      if (held === null) send();
      else held.push({ bytes, send });
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
      silenced = new Set(sockets);
    },
    reset() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    leadTo(otherUrl) {
      target = new URL(otherUrl);
    },
    delay(ms) {
      delayMs = ms;
    },
    hold() {
      const mine: NonNullable<typeof held> = [];
      held = mine;
      return {
        holds: (text) => Buffer.concat(mine.map(({ bytes }) => bytes)).includes(text),
        release() {
          held = null;
          for (const { send } of mine) send();
        },
      };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
