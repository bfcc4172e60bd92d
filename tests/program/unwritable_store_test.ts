/**
 * A program whose disk takes no more data. The limit of a file's size stands for the full disk: the kernel refuses
 * writes behind it, and it can be set and lifted from outside without privileges.
 *
 * @module
 */

import { equal, match } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { PROGRAM, type Program, startProgram } from "../support/program.ts";
import { preReboot } from "../support/zincati.ts";

const ALICE = "c988d2509fdf5cdcbed39037c56406fb";

async function limitFiles({ process: { pid } }: Program, bytes: number | "unlimited"): Promise<void> {
  const { success } = await new Deno.Command("prlimit", { args: [`--pid=${pid}`, `--fsize=${bytes}:unlimited`] })
    .output();
  equal(success, true);
}

async function ready(program: Program): Promise<{ status: number; text: string }> {
  const reply = await fetch(`${program.url}/-/ready`);
  return { status: reply.status, text: await reply.text() };
}

/** Without this, the signal of a limit that is reached ends the program. */
const IGNORING = ["bash", "-c", 'trap "" XFSZ; exec "$@"', "bash"];

for (const isUsed of [false, true]) {
  const when = isUsed ? "although it may write into the space that the file has" : "from the first write on";
  Deno.test(`${PROGRAM}: with a full disk, the server is not ready, ${when}, and it recovers`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
    const file = `${folder}/locks.db`;
    try {
      await using program = await startProgram([`--store=sqlite:${file}`], {}, IGNORING);
      if (isUsed) equal((await preReboot(program.url, ALICE)).status, 200);
      await limitFiles(program, Deno.statSync(file).size);
      let last = await ready(program);
      await until(async () => (last = await ready(program)).status === 503, { timeoutMs: 20_000 });
      equal(JSON.parse(last.text).kind, "store_unavailable");
      match(JSON.parse(last.text).value, /^the SQLite file takes no writes: [a-z].*/);
      await limitFiles(program, "unlimited");
      await until(async () => (await ready(program)).status === 200);
      const said = () => program.records().filter(({ message }) => /not ready|works again/.test(`${message}`));
      await until(() => said().map(({ level }) => level).join() === "warning,info");
      match(JSON.stringify(said()[0]), new RegExp(file));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
