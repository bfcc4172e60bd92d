/** The commands for operators and other programs, as the whole program. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { PROGRAM, runProgram, startProgram } from "../support/program.ts";
import { FOLDER, runCases } from "./golden_cases.ts";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test(`${PROGRAM}: ${name}`, fn);
}

test("the commands print what the golden files have; renew them with deno task golden", async () => {
  const texts = await runCases();
  for (const [name, text] of texts) equal(text, await Deno.readTextFile(`${FOLDER}${name}.txt`), name);
});

test("lock takes a slot, another one is told to try again, and unlock gives it back", async () => {
  await using program = await startProgram(["--store=memory"]);
  const ask = (command: string, id: string, ...more: string[]) =>
    runProgram([command, "--group", "jobs", "--id", id, ...more, program.url]).then(({ code }) => code);
  equal(await ask("lock", "one"), 0);
  equal(await ask("lock", "one"), 0);
  equal(await ask("lock", "two"), 75);
  const waits = ask("lock", "two", "--wait", "1m");
  equal(await ask("unlock", "one"), 0);
  equal(await waits, 0);
  equal(await ask("lock", "one"), 75);
  // Giving back what is not held is no error, as in the protocol.
  equal(await ask("unlock", "one"), 0);
});

test("a server that redirects, and one that is none, are faults, and one that is down is to be tried again", async () => {
  const answers = [
    () => Response.redirect("http://127.0.0.1:1/", 302),
    () => new Response("hello", { status: 404 }),
    () => new Response("", { status: 502 }),
  ];
  const codes: number[] = [];
  for (const answer of answers) {
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
    codes.push((await runProgram(["lock", "--group", "g", "--id", "i", `http://127.0.0.1:${server.addr.port}`])).code);
    await server.shutdown();
  }
  deepEqual(codes, [1, 1, 75]);
});

test("each command's help has examples, and a wrong flag is one sentence and exit code 2", async () => {
  for (
    const command of [
      "status",
      "explain",
      "release",
      "pause",
      "resume",
      "hold",
      "unhold",
      "undefer",
      "lock",
      "unlock",
      "check",
    ]
  ) {
    const { code, stdout } = await runProgram([command, "--help"]);
    equal(code, 0);
    match(stdout, /\nExamples:\n {2}/, command);
  }
  const { code, stderr } = await runProgram(["status", "--sotre", "x"]);
  equal(code, 2);
  match(stderr, /^fleetlock: unknown option '--sotre'.*\n$/);
});
