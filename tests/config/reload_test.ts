/**
 * A configuration file that changes while the server runs.
 *
 * @module
 */

import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { ConfigError } from "../../src/config/config_error.ts";
import { PolicyFile } from "../../src/config/reload.ts";
import { type Clock, systemClock } from "../../src/lock/clock.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";

const context = { store: "memory" } as const;

/** A clock whose regular looks never come, so that only the watch or somebody's request makes the file be read. */
const withoutLooks: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms < 1_000 ? ms : 600_000, signal),
};

/** A folder with a file that a test writes. */
async function inFolder(run: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
  try {
    await run(folder, `${folder}/config.yaml`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Slots of the groups that nobody names. */
function slots(file: PolicyFile): number {
  return file.current.defaults.slots.value;
}

/** Opens a file and keeps what its observer hears. */
async function open(path: string, clock: Clock, watchFolder?: typeof silent) {
  const heard: (string | readonly string[])[] = [];
  const observer = { loaded: () => heard.push("loaded"), failed: (errors: readonly string[]) => heard.push(errors) };
  const file = await PolicyFile.open(path, { context, observer, clock, watchFolder });
  return { file, heard };
}

/** A watch that never says anything. */
function silent() {
  const closed = Promise.withResolvers<void>();
  return {
    close: () => closed.resolve(),
    [Symbol.asyncIterator]: () => ({
      async next(): Promise<IteratorResult<{ kind: string }>> {
        await closed.promise;
        return { done: true, value: undefined };
      },
    }),
  };
}

Deno.test("a file that is rewritten, or replaced as editors do, takes effect when its folder changes", () =>
  inFolder(async (folder, path) => {
    await Deno.writeTextFile(path, "defaults: {slots: 1}");
    const { file, heard } = await open(path, withoutLooks);
    await using _ = file;
    const seen: number[] = [];
    using subscription = file.subscribe(({ defaults }) => seen.push(defaults.slots.value));
    const first = file.hash;
    match(first, /^[0-9a-f]{16}$/);

    await Deno.writeTextFile(path, "defaults: {slots: 2}");
    await until(() => slots(file) === 2);
    notEqual(file.hash, first);

    await Deno.writeTextFile(`${folder}/.config.yaml.swp`, "defaults: {slots: 3}");
    await Deno.rename(`${folder}/.config.yaml.swp`, path);
    await until(() => slots(file) === 3);

    subscription[Symbol.dispose]();
    await Deno.writeTextFile(path, "defaults: {slots: 1}");
    await until(() => slots(file) === 1);
    equal(file.hash, first);
    deepEqual(seen, [2, 3]);
    deepEqual(heard, ["loaded", "loaded", "loaded"]);
  }));

Deno.test("a ConfigMap that is swapped several times takes effect each time", () =>
  inFolder(async (folder, path) => {
    // As the kubelet does: a new folder of data, and a link to it that is renamed over the old one.
    const swap = async (version: number) => {
      await Deno.mkdir(`${folder}/..data-${version}`);
      await Deno.writeTextFile(`${folder}/..data-${version}/config.yaml`, `defaults: {slots: ${version}}`);
      await Deno.symlink(`..data-${version}`, `${folder}/..data_tmp`);
      await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
      if (version > 1) await Deno.remove(`${folder}/..data-${version - 1}`, { recursive: true });
    };
    await swap(1);
    await Deno.symlink("..data/config.yaml", path);
    const { file, heard } = await open(path, withoutLooks);
    await using _ = file;
    for (const version of [2, 3, 4]) {
      await swap(version);
      await until(() => slots(file) === version);
    }
    deepEqual(heard, ["loaded", "loaded", "loaded"]);
  }));

Deno.test("without a word from the watch, a change takes effect at the next look, 10 s later at most", () =>
  inFolder(async (_folder, path) => {
    await Deno.writeTextFile(path, "{}");
    const clock = new FakeClock();
    const { file } = await open(path, clock, silent);
    await using _ = file;
    await until(() => clock.sleepers === 1);
    await Deno.writeTextFile(path, "defaults: {slots: 2}");
    await clock.advance(9_999);
    equal(clock.sleepers, 1);
    equal(slots(file), 1);
    await clock.advance(1);
    // Now the new content must stay the same for a moment.
    await until(() => clock.nextIn === 200);
    equal(slots(file), 1);
    await clock.advance(200);
    await until(() => slots(file) === 2);
  }));

Deno.test("a file that is written in parts takes effect when it is whole, not before", () =>
  inFolder(async (_folder, path) => {
    await Deno.writeTextFile(path, "{}");
    const clock = new FakeClock();
    const { file, heard } = await open(path, clock, silent);
    await using _ = file;
    await until(() => clock.sleepers === 1);
    // Each part is a valid file.
    for (const part of ["defaults: {slots: 5}\n", "defaults: {slots: 5}\ntimeZone: Europe/Paris\n"]) {
      await Deno.writeTextFile(path, part);
      await clock.advance(clock.nextIn!);
      await until(() => clock.nextIn === 200);
      equal(slots(file), 1);
    }
    await clock.advance(200);
    await until(() => slots(file) === 5);
    equal(file.current.timeZone, "Europe/Paris");
    deepEqual(heard, ["loaded"]);
  }));

Deno.test("a bad file, or none, changes nothing and is told of once; the good one is back without a new version", () =>
  inFolder(async (_folder, path) => {
    const good = "defaults: {slots: 4}";
    await Deno.writeTextFile(path, good);
    const { file, heard } = await open(path, withoutLooks);
    await using _ = file;
    const { current, hash } = file;
    const seen: unknown[] = [];
    using _subscription = file.subscribe((options) => seen.push(options));

    await Deno.writeTextFile(path, "defaults: {slots: 0}");
    await until(() => file.errors.length > 0);
    const expected = "must be an integer from 1 to 999999999 or a percentage above 0%, as in 2 or 10%: it is 0";
    deepEqual(file.errors, [`${path}:1:19: defaults.slots: ${expected}`]);
    equal(file.failures, 1);

    await Deno.remove(path);
    await until(() => file.failures === 2);
    deepEqual(file.errors, [`${path}: the file does not exist`]);

    await Deno.writeTextFile(path, good);
    await until(() => file.errors.length === 0);
    equal(file.current, current);
    equal(file.hash, hash);
    equal(file.failures, 2);
    deepEqual(seen, []);
    equal(heard.length, 3);
    equal(heard[2], "loaded");
  }));

Deno.test("whoever asks for a look hears of the result, also when nothing has changed", () =>
  inFolder(async (_folder, path) => {
    await Deno.writeTextFile(path, "{}");
    const { file, heard } = await open(path, withoutLooks, silent);
    await using _ = file;
    file.reload();
    await until(() => heard.length === 1);
    await Deno.writeTextFile(path, "defaults: {slots: 2}");
    file.reload();
    await until(() => slots(file) === 2);
    await Deno.writeTextFile(path, "slots: 2");
    for (const times of [1, 2]) {
      file.reload();
      await until(() => file.failures === times);
    }
    deepEqual(heard.slice(0, 2), ["loaded", "loaded"]);
  }));

Deno.test("where a folder cannot be watched, the regular looks go on", () =>
  inFolder(async (_folder, path) => {
    await Deno.writeTextFile(path, "{}");
    const clock = new FakeClock();
    const broken = () => {
      throw new Error("too many watches");
    };
    const { file } = await open(path, clock, broken);
    await using _ = file;
    await Deno.writeTextFile(path, "defaults: {slots: 2}");
    await until(async () => {
      await clock.advance(1_000);
      return slots(file) === 2;
    });
  }));

Deno.test("a file that is bad at the start is refused with all its errors", () =>
  inFolder(async (folder, path) => {
    const refuse = (message: RegExp, file = path) =>
      rejects(PolicyFile.open(file, { context }), (error) => {
        ok(error instanceof ConfigError);
        match(error.message, message);
        return true;
      });
    await refuse(/^the configuration file is not valid:\n\S+config.yaml: the file does not exist$/);
    await refuse(/: it is not a regular file$/, folder);
    await refuse(/: it is not a regular file$/, "/dev/zero");
    await Deno.writeTextFile(path, "a: 1\nb: 2\n");
    await refuse(/^the configuration file is not valid:\n\S+:1:1: a: is unknown: .*\n\S+:2:1: b: is unknown: .*$/);
    await Deno.writeFile(path, new Uint8Array([0x61, 0xff]));
    await refuse(/: the file is not UTF-8$/);
    await Deno.writeFile(path, new Uint8Array(1_048_577).fill(0x20));
    await refuse(/: the file is larger than 1 MiB$/);
  }));
