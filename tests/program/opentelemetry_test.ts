/** Deno's own OpenTelemetry export of the whole program. @module */

import { equal, ok } from "node:assert/strict";
import { PROGRAM, startProgram } from "../support/program.ts";
import { preReboot } from "../support/zincati.ts";

// An executable can export only if OTEL_DENO was set when it was compiled, and then always does.
const ignore = !/\.[jt]s$/.test(PROGRAM);
const skipped = ignore ? " (skipped: decided when an executable is compiled)" : "";

Deno.test(
  { name: `${PROGRAM}: with OTEL_DENO=true, requests and log lines are exported${skipped}`, ignore },
  async () => {
    const received = new Map<string, string>();
    await using collector = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const { pathname } = new URL(request.url);
      received.set(pathname, (received.get(pathname) ?? "") + await request.text());
      return Response.json({});
    });
    await using program = await startProgram(["--store=memory"], {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    });
    equal((await preReboot(program.url, "otel-client")).status, 200);
    // What is left at the end is exported before the exit. Short intervals would not do here: Deno (2.9.6) waits for
    // ever where it exits while its metrics are being collected.
    equal((await program.stop()).code, 0);
    const text = (path: string) => received.get(path) ?? "";
    ok(text("/v1/traces").includes("/v1/pre-reboot"), "a span of the request");
    ok(text("/v1/logs").includes("reboot slot granted"), "the log line of the grant");
    ok(text("/v1/metrics").includes("http.server.request.duration"), "metrics of the server");
  },
);
