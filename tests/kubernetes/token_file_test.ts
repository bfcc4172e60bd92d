/**
 * Files of credentials that others replace: when they are read again, and what happens while they cannot be used.
 * @module
 */

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { type Access, podAccess, RotatingFile } from "../../src/kubernetes/access.ts";
import { kubeconfigAccess } from "../../src/kubernetes/kubeconfig.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { folderTest, kubeconfig } from "../support/kubeconfigs.ts";
import { Log } from "../support/log.ts";

folderTest("a token is read again when it is a minute old, without being refused", async (folder) => {
  const path = `${folder}/token`;
  await Deno.writeTextFile(path, "one");
  const clock = new FakeClock();
  const old = new RotatingFile(path, "token", { clock, advice: "check it" });
  equal(await old.read(false), "one");
  await clock.advance(59_999);
  const young = new RotatingFile(path, "token", { clock, advice: "check it" });
  equal(await young.read(false), "one");
  await Deno.writeTextFile(path, "two");
  equal(await old.read(false), "one");
  await clock.advance(1);
  equal(await old.read(false), "two");
  equal(await young.read(false), "one");
});

/** Ways in which a token file cannot be used for a while, and what the log says. */
const FAULTS: Readonly<Record<string, [(path: string) => Promise<void>, RegExp]>> = {
  "is emptied": [(path) => Deno.writeTextFile(path, ""), /^The token at .*token is empty: write it again$/],
  "holds only white space": [(path) => Deno.writeTextFile(path, " \n"), /is empty: write it again$/],
  "is removed": [(path) => Deno.remove(path), /^Cannot read the token at .*token: the file does not exist; \w/],
  "cannot be read": [
    async (path) => {
      await Deno.remove(path);
      await Deno.mkdir(path);
    },
    /^Cannot read the token at .*token: Is a directory /,
  ],
  "gets a line break": [(path) => Deno.writeTextFile(path, "secret\nsecret"), /^The token at .* has a line break/],
};
const levelsOf = (log: Log) => log.records.map((record) => record.level);
/** Opens the access that reads the token of a folder. */
const HOLDERS: Readonly<Record<string, (folder: string, clock: FakeClock) => Promise<Access>>> = {
  async "service account"(folder, clock) {
    await Deno.writeTextFile(`${folder}/ca.crt`, "x");
    return await podAccess("10.0.0.1", "443", folder, clock);
  },
  async kubeconfig(folder, clock) {
    await Deno.writeTextFile(`${folder}/config`, kubeconfig({ tokenFile: "token" }));
    return await kubeconfigAccess(`${folder}/config`, { clock, reloadMs: 0 });
  },
};
for (const [holder, open] of Object.entries(HOLDERS)) {
  for (const [fault, [damage, says]] of Object.entries(FAULTS)) {
    folderTest(
      `while the token file of a ${holder} ${fault}, the last token stays in use, with one warning`,
      async (folder) => {
        const path = `${folder}/token`;
        await Deno.writeTextFile(path, "one\n");
        const clock = new FakeClock();
        const log = new Log();
        await using _logging = await log.start();
        const access = await open(folder, clock);
        const token = async (refused: boolean) => (await access.credentials(refused)).headers.authorization;
        equal(await token(false), "Bearer one");
        await damage(path);
        for (const refused of [true, false, true]) equal(await token(refused), "Bearer one");
        await clock.advance(3_600_000);
        equal(await token(false), "Bearer one");
        deepEqual(levelsOf(log), ["warning"]);
        const { file, error } = log.records[0]!;
        equal(file, path);
        match((error as { message: string }).message, says);
        doesNotMatch(log.text, /secret/);

        await Deno.remove(path, { recursive: true }).catch(() => {});
        await Deno.writeTextFile(path, "two");
        equal(await token(false), "Bearer two", "the next call reads it, without a refusal or a minute's wait");
        deepEqual(levelsOf(log), ["warning", "info"]);
        await damage(path);
        equal(await token(true), "Bearer two");
        deepEqual(levelsOf(log), ["warning", "info", "warning"]);
      },
    );
  }
}

folderTest("a kubeconfig's own token is used until its token file can be read", async (folder) => {
  await Deno.writeTextFile(`${folder}/config`, kubeconfig({ token: "own", tokenFile: "token" }));
  const access = await kubeconfigAccess(`${folder}/config`);
  equal((await access.credentials(false)).headers.authorization, "Bearer own");
  await Deno.writeTextFile(`${folder}/token`, "file");
  equal((await access.credentials(false)).headers.authorization, "Bearer file");
});

folderTest("a pod's authority stays in use while its file is empty, and a new token is used", async (folder) => {
  await Deno.writeTextFile(`${folder}/token`, "one");
  await Deno.writeTextFile(`${folder}/ca.crt`, "ca");
  const access = await podAccess("10.0.0.1", "443", folder);
  await Deno.writeTextFile(`${folder}/ca.crt`, "");
  await Deno.writeTextFile(`${folder}/token`, "two");
  const { headers, tls } = await access.credentials(true);
  deepEqual([headers.authorization, tls.ca], ["Bearer two", "ca"]);
});
