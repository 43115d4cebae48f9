// Runs a front end's Worker on Cloudflare's engine (workerd, through miniflare) over databases of D1 that it fills, and
// over indexes that a Worker of ours answers for by asking Vectorize's REST API. Prints its address; ends with stdin.
// Arguments: the folder that has node_modules, and a file of JSON: {worker, databases, indexes, api, token}.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { Miniflare } = createRequire(`${process.argv[2]}/`)("miniflare");
const { worker, databases, indexes, api, token } = JSON.parse(readFileSync(process.argv[3], "utf8"));
const INDEX = `
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  async query(vector, options) {
    const headers = { authorization: "Bearer " + this.env.TOKEN, "content-type": "application/json" };
    const body = JSON.stringify({ ...options, vector });
    const answer = await (await fetch(this.env.API + this.env.NAME + "/query", { method: "POST", headers, body })).json();
    if (!answer.success) throw new Error(JSON.stringify(answer.errors));
    return answer.result;
  }
}`;
const common = { modules: true, compatibilityDate: "2026-07-01" };
const names = Object.keys(indexes);
const server = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  cf: false,
  telemetry: { enabled: false },
  workers: [
    {
      ...common,
      name: "front-end",
      script: worker,
      d1Databases: Object.fromEntries(Object.keys(databases).map((binding) => [binding, `in-${binding}`])),
      serviceBindings: Object.fromEntries(names.map((binding) => [binding, { name: `in-${binding}` }])),
    },
    ...names.map((binding) => ({
      ...common,
      name: `in-${binding}`,
      script: INDEX,
      bindings: { NAME: indexes[binding], API: api, TOKEN: token },
    })),
  ],
});
await server.ready;
for (const [binding, statements] of Object.entries(databases)) {
  const database = await server.getD1Database(binding, "front-end");
  for (const { sql, params } of statements) await database.prepare(sql).bind(...params).run();
}
console.log(String(await server.ready));
process.stdin.on("end", () => server.dispose().then(() => process.exit(0)));
process.stdin.resume();
