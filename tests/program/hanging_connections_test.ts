/** Deno.serve has no time-out for headers: what clients cost that never end theirs. @module */

import assert from "node:assert/strict";
import { connectAll, residentMegabytes } from "../bench/load.ts";
import { PROGRAM, startProgram } from "../support/program.ts";
import { preReboot } from "../support/zincati.ts";

Deno.test(`${PROGRAM}: 2,000 connections that hang in their headers cost less than 100 MB, and others are served`, async () => {
  await using program = await startProgram(["--store=memory"]);
  await preReboot(program.url, "first");
  const before = residentMegabytes(program.process.pid);
  const hanging = await connectAll(program.url, 2_000);
  try {
    const head = new TextEncoder().encode("POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: tr");
    await Promise.all(hanging.map((client) => client.send(head)));
    for (let n = 0; n < 100; n++) assert.equal((await preReboot(program.url, `client-${n}`)).kind, "lock_held");
    const cost = residentMegabytes(program.process.pid) - before;
    assert(cost < 100, `${cost} MB`);
  } finally {
    for (const client of hanging) client[Symbol.dispose]();
  }
});
