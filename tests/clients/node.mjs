// Drives @segment/analytics-node against a running server: node.mjs HOST WRITE_KEY RUN
import { createRequire } from 'node:module';
const require = createRequire(new URL('../../clients/package.json', import.meta.url));
const { Analytics } = require('@segment/analytics-node');

const [host, writeKey, run] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host, flushAt: 5, maxRetries: 3 });
const failures = [];
analytics.on('error', (error) => failures.push(error));

const anonymousId = `node-anon-${run}`;
const userId = `node-user-${run}`;
analytics.page({ anonymousId, name: 'Home', properties: { path: '/' } });
analytics.track({ anonymousId, event: 'Product Viewed', properties: { sku: 'A-1', price: 12.5 } });
analytics.identify({ userId, anonymousId, traits: { email: `node-${run}@example.com`, plan: 'pro' } });
analytics.track({ userId, event: 'Order Completed', properties: { order_id: `o-${run}`, revenue: 129.9 } });
analytics.group({ userId, groupId: `node-account-${run}`, traits: { name: 'Acme' } });
analytics.screen({ userId, name: 'Cart' });
analytics.alias({ userId, previousId: `node-old-${run}` });
await analytics.closeAndFlush({ timeout: 15000 });
if (failures.length > 0) {
  console.error(failures);
  process.exit(1);
}
console.log('sent');
