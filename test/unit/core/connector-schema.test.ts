import { expect, it } from 'vitest';
import { connectorSchema } from '../../../src/core/mapping-schema.ts';

it('the shipped JSON schema is the one that the code checks by (vitest -u writes it)', async () => {
  const text = `${JSON.stringify(connectorSchema(), null, 2)}\n`;
  await expect(text).toMatchFileSnapshot('../../../connectors/connector.schema.json');
});
