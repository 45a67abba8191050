// Drives analytics.js in headless Chromium: browser.mjs HOST WRITE_KEY RUN MODE
// MODE `npm`: the page bundles @segment/analytics-next and names only its host; `served`: it loads analytics.min.js from the server.
import { createServer } from 'node:http';
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRequire } from 'node:module';
const require = createRequire(new URL('../../clients/package.json', import.meta.url));
const { chromium } = require('playwright-core');

const [host, writeKey, run, mode] = process.argv.slice(2);
const umd = new URL('../../clients/node_modules/@segment/analytics-next/dist/umd/index.js', import.meta.url);

const calls = `
  analytics.page('Home');
  analytics.track('Product Viewed', { sku: 'C-3', price: 5 });
  analytics.identify('browser-user-${run}', { email: 'browser-${run}@example.com', plan: 'free' });
  analytics.track('Order Completed', { order_id: 'b-${run}', revenue: 250 });
  analytics.group('browser-account-${run}', { name: 'Initech' });
`;
const pages = {
  npm: `<script src="/umd.js"></script><script>
    const { AnalyticsBrowser } = window.AnalyticsNext ?? window;
    const analytics = AnalyticsBrowser.load({ writeKey: '${writeKey}', cdnURL: '${host}' },
      { integrations: { 'Segment.io': { apiHost: '${host.replace(/^https?:\/\//, '')}/v1', protocol: 'http' } } });
    ${calls}
    analytics.user().then((user) => { window.anonymousId = user.anonymousId(); });
  </script>`,
  served: `<script>
    const methods = ['track', 'page', 'identify', 'group', 'ready', 'user'];
    const analytics = (window.analytics = window.analytics || []);
    analytics._writeKey = '${writeKey}';
    for (const method of methods) analytics[method] = (...args) => { analytics.push([method, ...args]); return analytics; };
    const script = document.createElement('script');
    script.async = true; script.src = '${host}/analytics.js/v1/${writeKey}/analytics.min.js';
    document.head.appendChild(script);
    ${calls}
    analytics.ready(() => { window.anonymousId = window.analytics.user().anonymousId(); });
  </script>`,
};

// Chromium keeps a public page from calling a loopback address, so the page is served from loopback too.
const server = createServer((request, response) => {
  if (request.url === '/umd.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(readFileSync(umd));
  } else {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>Shop</title><h1>Shop</h1>${pages[mode]}`);
  }
}).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const profile = mkdtempSync(join(tmpdir(), 'onefold-browser-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
try {
  const page = await browser.newPage();
  const problems = [];
  const sent = new Set();
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('response', (response) => {
    const path = new URL(response.url()).pathname;
    if (path.startsWith('/v1/') && response.request().method() === 'POST') sent.add(`${path} ${response.status()}`);
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  try {
    await page.waitForFunction(() => window.anonymousId, undefined, { timeout: 20000 });
    for (const path of ['/v1/p', '/v1/t', '/v1/i', '/v1/g']) {
      const until = Date.now() + 20000;
      while (!sent.has(`${path} 200`)) {
        if (Date.now() > until) throw new Error(`${path} was not answered with 200; seen: ${[...sent].join(', ')}`);
        await page.waitForTimeout(20);
      }
    }
  } catch (error) {
    console.error(problems.join('\n'));
    throw error;
  }
  console.log(JSON.stringify({ anonymousId: await page.evaluate(() => window.anonymousId) }));
} finally {
  await browser.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
