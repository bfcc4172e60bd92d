/**
 * Makes the whole program one file, `dist/fleetlock.js` or what the argument
 * names, and its source map beside it. `REVISION` in the environment names the
 * commit; without it git is asked.
 *
 * What the program imports dynamically (a kubeconfig's loader) stands in the
 * same file but is evaluated only when it is imported, so that it costs a pod
 * nothing; one file is what `deno compile` takes.
 *
 * @module
 */

import * as esbuild from "esbuild";
import { builtinModules } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };
import { revision } from "./revision.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Node's modules, with or without `node:`, are fetched when the module that imports them is evaluated.
 * As plain imports they would all be loaded at the start, for the sake of parts that seldom run.
 */
const nodeBuiltins: esbuild.Plugin = {
  name: "node-builtins",
  setup(build) {
    const known = new Set(builtinModules.map((name) => name.replace(/^node:/, "")));
    build.onResolve({ filter: /^(node:)?[a-z/_0-9]+$/ }, ({ path }) => {
      const name = path.replace(/^node:/, "");
      return known.has(name) ? { path: name, namespace: "node" } : undefined;
    });
    build.onLoad({ filter: /.*/, namespace: "node" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule("node:${path}")`,
    }));
  },
};

/**
 * Parts of the client library that the program never calls, by what imports them and what they export: its own
 * transport (10 MB of memory), and what would tie the kubeconfig's loader to the generated APIs and so make
 * esbuild wrap those for lazy evaluation too (40 ms). Whoever calls them all the same is told.
 */
const NEVER_CALLED: readonly { importer: RegExp; path: RegExp; exports: readonly string[] }[] = [
  { importer: /./, path: /^undici$/, exports: ["Agent", "ProxyAgent", "fetch"] },
  { importer: /dist\/config\.js$/, path: /gen\/index\.js$/, exports: ["ServerConfiguration", "createConfiguration"] },
];

const withoutNeverCalled: esbuild.Plugin = {
  name: "without-never-called",
  setup(build) {
    for (const { importer, path, exports } of NEVER_CALLED) {
      build.onResolve({ filter: path }, (found) => {
        if (!importer.test(found.importer)) return undefined;
        return { path: found.path, namespace: "never-called", pluginData: exports };
      });
    }
    build.onLoad({ filter: /.*/, namespace: "never-called" }, ({ path, pluginData }) => {
      const message = JSON.stringify(`${path} is not part of the bundle`);
      const stubs = (pluginData as string[]).map((name) =>
        `export function ${name}() { throw new Error(${message}); }`
      );
      return { contents: stubs.join("\n") };
    });
  },
};

/** The program reads its version from deno.json; the rest of that file is of no use to it. */
function onlyVersion(version: string): esbuild.Plugin {
  return {
    name: "only-version",
    setup(build) {
      build.onLoad({ filter: /\/deno\.json$/ }, () => ({ contents: JSON.stringify({ version }), loader: "json" }));
    },
  };
}

const outfile = Deno.args[0] ?? "dist/fleetlock.js";
const commit = await revision();
const version = commit === undefined ? manifest.version : `${manifest.version}+${commit}`;
await esbuild.build({
  absWorkingDir: root,
  entryPoints: ["main.ts"],
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "es2024",
  minify: true,
  sourcemap: "external",
  legalComments: "none",
  logLevel: "warning",
  // The bundle is nothing but the program, also for what imports it (a launcher, say).
  define: { "import.meta.main": "true" },
  plugins: [nodeBuiltins, withoutNeverCalled, onlyVersion(version)],
});
await esbuild.stop();
const { size } = await Deno.stat(resolve(root, outfile));
console.log(`${outfile}: fleetlock ${version}, ${(size / 1e3).toFixed(0)} kB`);
