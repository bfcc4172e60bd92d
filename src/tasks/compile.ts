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
    // Windows need Temporal. It is stable in this Deno, which takes the flag all the same; an executable on an older
    // base has it with the flag alone.
    "--unstable-temporal",
    ...Object.entries({ net, read, write }).flatMap(([name, allowed]) => allowed ? [`--allow-${name}`] : []),
    `--allow-env=${env.allow.join(",")}`,
    "--ignore-env",
    // By default, V8 lets the heap grow far beyond what is in use before it collects garbage. Under load, the young
    // generation alone would grow to three times the rest of the program. Maglev, the compiler between the baseline and
    // the optimizing one, takes 8 MB, and a poll takes no less time with it. V8's --optimize-for-size would make a poll
    // take 60 to 120 % more time (docs/benchmarks.md).
    "--v8-flags=--max-semi-space-size=1,--heap-growing-percent=20,--no-maglev",
  ];
}

/** Compiles for one platform. Returns undefined, or a line that says why it cannot. */
async function compile(platform: string): Promise<string | undefined> {
  const target = TARGETS[platform];
  if (target === undefined) {
    return `Cannot compile for '${platform}': the platforms are ${Object.keys(TARGETS).join(" and ")}`;
  }
  const output = `bin/fleetlock-${platform}`;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
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
    env: { NO_COLOR: "1" },
    stdout: "inherit",
    stderr: "piped",
  }).output();
  if (!success) return `Cannot compile for ${platform}: ${explain(new TextDecoder().decode(stderr))}`;
  console.log(`Compiled ${output}`);
  if (target === Deno.build.target) {
    await Deno.remove(`${root}bin/fleetlock`).catch(() => {});
    await Deno.symlink(`fleetlock-${platform}`, `${root}bin/fleetlock`);
  }
  return undefined;
}

/** Shortens what `deno compile` says where the reason is the network. */
function explain(output: string): string {
  const url = /error sending request for url \((\S+)\)/.exec(output)?.[1];
  if (url === undefined) return output.trim();
  return `cannot download ${url}, Deno's runtime for this platform; connect to the network, or name a platform whose ` +
    "runtime was downloaded before";
}

if (Deno.args.includes("--flags")) {
  console.log(compileFlags().join("\n"));
} else {
  for (const platform of Deno.args.length > 0 ? Deno.args : Object.keys(TARGETS)) {
    const problem = await compile(platform);
    if (problem === undefined) continue;
    console.error(problem);
    Deno.exit(1);
  }
}
