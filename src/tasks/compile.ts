/**
 * Compiles `dist/fleetlock.js` to executables for Linux, `bin/fleetlock-amd64`
 * and `bin/fleetlock-arm64`. Arguments select platforms. `bin/fleetlock` becomes
 * a link to the executable for this machine. With `--flags`, the script only
 * prints the flags that the executables run with, one a line.
 *
 * The executables have the default permissions of deno.json, which do not
 * include running other programs.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Deno's name of each platform, by its name for container images. */
const TARGETS: Readonly<Record<string, string>> = {
  amd64: "x86_64-unknown-linux-gnu",
  arm64: "aarch64-unknown-linux-gnu",
};

/** The flags of `deno compile` that take effect when the executable runs. */
function compileFlags(): string[] {
  const { net, read, write, env } = manifest.permissions.default;
  return [
    "--no-prompt",
    ...manifest.unstable.map((feature) => `--unstable-${feature}`),
    ...Object.entries({ net, read, write }).flatMap(([name, allowed]) => allowed ? [`--allow-${name}`] : []),
    `--allow-env=${env.allow.join(",")}`,
    "--ignore-env",
    // Under load, V8's young generation would grow to three times the rest of the program, and gain no speed.
    "--v8-flags=--max-semi-space-size=4",
  ];
}

async function compile(platform: string): Promise<void> {
  const target = TARGETS[platform];
  if (target === undefined) {
    throw new Error(`Cannot compile for '${platform}': the platforms are ${Object.keys(TARGETS).join(" and ")}`);
  }
  const output = `bin/fleetlock-${platform}`;
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      "--quiet",
      "--no-check",
      ...compileFlags(),
      "--target",
      target,
      "--output",
      output,
      "dist/fleetlock.js",
    ],
    cwd: root,
  }).spawn().status;
  if (!success) throw new Error(`Cannot compile for ${platform}: deno compile failed, see its output above`);
  console.log(`Compiled ${output}`);
  if (target === Deno.build.target) {
    await Deno.remove(`${root}bin/fleetlock`).catch(() => {});
    await Deno.symlink(`fleetlock-${platform}`, `${root}bin/fleetlock`);
  }
}

if (Deno.args.includes("--flags")) {
  console.log(compileFlags().join("\n"));
} else {
  for (const platform of Deno.args.length > 0 ? Deno.args : Object.keys(TARGETS)) await compile(platform);
}
