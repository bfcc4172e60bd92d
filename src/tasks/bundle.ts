/**
 * Bundles the program into one file, `dist/fleetlock.js` or the path in the
 * first argument, and writes its source map beside it. `REVISION` in the
 * environment names the commit; without it the script asks git.
 *
 * The bundle contains the modules that the program imports dynamically, such as
 * the loader of kubeconfigs, because `deno compile` takes one file. They run only
 * when the program imports them, so a pod does not pay for them.
 *
 * @module
 */

import * as esbuild from "esbuild";
import { builtinModules } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };
import { CALLED_METHODS } from "../kubernetes/called_methods.ts";
import { keepMethods } from "./kept_methods.ts";
import { revision } from "./revision.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Loads a built-in module of Node when the module that imports it runs. Static imports would load all of them at the
 * start, although most of them serve parts that seldom run.
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
 * Modules of the Kubernetes client that the program never calls, by their importer, with their exports: the transport
 * (10 MB of memory), and a module that links the loader of kubeconfigs to the generated APIs, which makes esbuild
 * evaluate those lazily too (40 ms). A stub replaces each export and throws when something calls it.
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

/** Puts a serializer that passes objects through in the place of the Kubernetes client's, which knows every model. */
const withoutModels: esbuild.Plugin = {
  name: "without-models",
  setup(build) {
    const path = resolve(root, "src/kubernetes/model_serializer.ts");
    build.onResolve({ filter: /\/ObjectSerializer\.js$/ }, () => ({ path }));
  },
};

/**
 * Keeps only those methods of the Kubernetes client's generated APIs that the program calls. Two layers have them
 * twice.
 */
const onlyCalledMethods: esbuild.Plugin = {
  name: "only-called-methods",
  setup(build) {
    const called = new Set<string>(Object.values(CALLED_METHODS).flat());
    const isKept = (name: string) => called.has(name.replace(/WithHttpInfo$/, ""));
    const filter = /client-node\/dist\/gen\/(apis\/\w+Api|types\/(Observable|ObjectParam)API)\.js$/;
    build.onLoad({ filter }, async ({ path }) => ({ contents: keepMethods(await Deno.readTextFile(path), isKept) }));
  },
};

/** Reduces deno.json to the version, which is all that the program reads from it. */
function onlyVersion(version: string): esbuild.Plugin {
  return {
    name: "only-version",
    setup(build) {
      build.onLoad({ filter: /\/deno\.json$/ }, () => ({ contents: JSON.stringify({ version }), loader: "json" }));
    },
  };
}

/** Embeds what is imported as text, such as the status page, whose script is not part of the program. */
const textImports: esbuild.Plugin = {
  name: "text-imports",
  setup(build) {
    build.onLoad({ filter: /\.(html|css|js)$/ }, async ({ path, with: attributes }) => {
      if (attributes.type !== "text") return undefined;
      const text = await Deno.readTextFile(path);
      // The page joins its scripts and drops their imports, as a reader of the bundle should not find any.
      return { contents: path.endsWith(".js") ? text.replace(/^import [^;]*;\n/gm, "") : text, loader: "text" };
    });
  },
};

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
  // The bundle runs the program even when another module, such as a launcher, imports it.
  define: { "import.meta.main": "true" },
  plugins: [textImports, nodeBuiltins, withoutNeverCalled, withoutModels, onlyCalledMethods, onlyVersion(version)],
});
await esbuild.stop();
const { size } = await Deno.stat(resolve(root, outfile));
console.log(`Bundled fleetlock ${version} to ${outfile} (${(size / 1e3).toFixed(0)} kB)`);
