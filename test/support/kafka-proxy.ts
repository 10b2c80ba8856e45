/** A TCP proxy before a Kafka broker, which says in its answers where it is: clients are sent to the proxy instead. */
import { createProxy, type Proxy } from './tcp-proxy.ts';

export interface KafkaProxy extends Proxy {
  readonly brokers: string;
}

export async function createKafkaProxy(broker: string): Promise<KafkaProxy> {
  const { hostname, port } = new URL(`kafka://${broker}`);
  const own: { address: Buffer } = { address: Buffer.alloc(0) };
  const proxy = await createProxy(`kafka://${broker}`, {
    fromServer: (bytes) => replaced(bytes, addressOf(hostname, Number(port)), own.address),
  });
  const { host, port: ownPort } = new URL(proxy.url);
  own.address = addressOf(hostname, Number(ownPort));
  return { ...proxy, brokers: host };
}

/** As an answer has it. */
function addressOf(host: string, port: number): Buffer {
  const bytes = Buffer.alloc(host.length + 4);
  bytes.write(host, 'latin1');
  bytes.writeInt32BE(port, host.length);
  return bytes;
}

/** Both are of the same length. */
function replaced(bytes: Buffer, what: Buffer, by: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let at = copy.indexOf(what); at >= 0; at = copy.indexOf(what, at + by.length)) by.copy(copy, at);
  return copy;
}
