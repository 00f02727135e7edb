// A certified OpenID Connect provider (npm: oidc-provider) for the tests of the console. Its development pages accept any
// password; who may sign in, and with which groups, is in a file that it reads at each sign-in.
// Arguments: folder of the installed package, port, URL of the console, file of accounts.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , installed, port, site, accounts] = process.argv;
const { Provider } = await import(pathToFileURL(`${installed}/node_modules/oidc-provider/lib/index.js`));

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: "console",
    client_secret: "a secret of the test",
    redirect_uris: [`${site}/sign-in/oidc/callback`],
    post_logout_redirect_uris: [`${site}/sign-in`],
  }],
  cookies: { keys: ["a key of the test"] },
  pkce: { required: () => true },
  claims: { profile: ["preferred_username", "groups"] },
  findAccount: (context, name) => {
    const groups = JSON.parse(readFileSync(accounts))[name];
    return groups && { accountId: name, claims: () => ({ sub: name, preferred_username: name, groups }) };
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
