/**
 * The baseline of the benchmark: a bare `Deno.serve` that parses the same body,
 * replies with the same number of bytes, and does nothing else.
 *
 * @module
 */

const refusal = JSON.stringify({
  kind: "lock_held",
  value: 'reboot slot of group "default" is held by c988d250… since 2026-01-01T00:00:00Z (12 min)',
}) + "\n";

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.error(`"listening" "http://127.0.0.1:${port}"`),
}, async (request) => {
  const { client_params: { id, group } } = await request.json();
  if (!id || !group) return new Response(null, { status: 400 });
  return new Response(refusal, { status: 423, headers: { "content-type": "application/json" } });
});
