// Starts the real engine of D1 (workerd, through miniflare) on a free port of loopback and prints its address;
// ends when its standard input does. Argument: the folder that has node_modules.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const { Miniflare } = createRequire(`${process.argv[2]}/`)("miniflare");
const server = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  cf: false,
  telemetry: { enabled: false },
  modules: true,
  scriptPath: fileURLToPath(new URL("d1_worker.mjs", import.meta.url)),
  compatibilityDate: "2026-07-01",
  d1Databases: { DB: "captures" },
});
console.log(String(await server.ready));
process.stdin.on("end", () => server.dispose().then(() => process.exit(0)));
process.stdin.resume();
