// An OpenID provider in the hands of a test: `node provider.mjs REDIRECT_URI` prints its issuer, serves one
// client and believes every name it is told.
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const modules = process.env.NIGHTBELL_TEST_NODE_MODULES;
const { Provider } = await import(pathToFileURL(join(modules, 'oidc-provider/lib/index.js')));

// Whoever reads the issuer need not listen any longer.
process.stdout.on('error', () => {});

const redirect = process.argv[2];
let answer;
const server = createServer((request, response) => answer(request, response));
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'nightbell',
      client_secret: 'a secret of +/& signs',
      redirect_uris: [redirect],
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    // In the ID token, as most providers have it.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: ['sre'] }),
    }),
    pkce: { required: () => true },
    cookies: { keys: ['of a test'] },
  });
  answer = provider.callback();
  console.log(issuer);
});
