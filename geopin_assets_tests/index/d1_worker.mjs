// D1's HTTP API over the real engine: what a Worker bound to a database answers to /query and /raw.
const ROUTE = /^\/client\/v4\/accounts\/[^/]+\/d1\/database\/[^/]+\/(query|raw)$/;

const arrays = ({ results, ...rest }) => {
  const columns = results.length ? Object.keys(results[0]) : [];
  return { ...rest, results: { columns, rows: results.map((row) => columns.map((column) => row[column])) } };
};

export default {
  async fetch(request, env) {
    const route = new URL(request.url).pathname.match(ROUTE);
    if (request.method !== "POST" || !route) {
      return Response.json({ success: false, errors: [{ code: 7003, message: "no route" }], messages: [], result: null }, { status: 404 });
    }
    const body = await request.json();
    const batch = body.batch ?? [body];
    try {
      const result = await env.DB.batch(batch.map(({ sql, params }) => env.DB.prepare(sql).bind(...(params ?? []))));
      const shown = route[1] === "raw" ? result.map(arrays) : result;
      return Response.json({ success: true, errors: [], messages: [], result: shown });
    } catch (error) {
      const message = error.message.replace(/^D1_ERROR: /, "");
      return Response.json({ success: false, errors: [{ code: 7500, message }], messages: [], result: [] }, { status: 400 });
    }
  },
};
