/** The bundle, and what the program loads at its start. @module */

import { deepEqual, doesNotMatch, equal, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { CALLED_METHODS } from "../../src/kubernetes/called_methods.ts";
import manifest from "../../deno.json" with { type: "json" };

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Runs deno to its end. */
async function deno(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, env, cwd: root }).output();
  ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("the bundle runs alone, reports its commit, has no static imports and contains no undici", async () => {
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
  try {
    const bundle = `${folder}/program.js`;
    await deno(["run", "--quiet", "-P=development", "src/tasks/bundle.ts", bundle], { REVISION: "0123abc" });
    equal(await deno(["run", "--no-config", "-A", bundle, "--version"]), `${manifest.version}+0123abc\n`);

    const script = await Deno.readTextFile(bundle);
    doesNotMatch(script, /\bimport[\w{}*,$ ]*from ?"/);
    ok(!script.includes("sourceMappingURL"));
    // One other character, and V8 keeps the whole program with two bytes for each: 3 MB more. esbuild escapes them in
    // strings, but not in regular expressions.
    deepEqual(script.match(/.{0,40}\P{ASCII}.{0,40}/gu) ?? [], []);
    const { sources }: { sources: string[] } = JSON.parse(await Deno.readTextFile(`${bundle}.map`));
    ok(sources.some((source) => source.endsWith("src/lock/semaphore.ts")));
    deepEqual(sources.filter((source) => source.includes("/node_modules/undici/")), []);
    deepEqual(sources.filter((source) => source.includes("/dist/gen/models/")), []);
    // Of the generated APIs, the bundle has the methods that the program calls, and all of those.
    const methods = new Set(script.match(/\w+(?=WithHttpInfo\b)/g));
    deepEqual([...methods].sort(), Object.values(CALLED_METHODS).flat().sort());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the program loads modules for kubeconfigs, unchecked connections and configuration files only on demand", async () => {
  interface Module {
    specifier: string;
    dependencies?: { code?: { specifier: string }; isDynamic?: boolean }[];
  }
  const { modules, roots }: { modules: Module[]; roots: string[] } = JSON.parse(
    await deno(["info", "--json", "main.ts"]),
  );
  const bySpecifier = new Map(modules.map((module) => [module.specifier, module]));
  const loaded = new Set(roots);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of bySpecifier.get(specifier)?.dependencies ?? []) {
      if (code !== undefined && !isDynamic) loaded.add(code.specifier);
    }
  }
  const files = [...loaded].filter((one) => one.startsWith("file:")).map((one) => one.slice(one.indexOf("/src/") + 1));
  ok(files.includes("src/kubernetes/client.ts"));
  ok(!files.includes("src/kubernetes/kubeconfig.ts"));
  ok(!files.includes("src/kubernetes/unchecked_connection.ts"));
  deepEqual(files.filter((file) => /^src\/config\/(file\/|reload)/.test(file)), []);
  deepEqual([...loaded].filter((one) => /client-node\/dist\/config\.js$|valibot|js-yaml/.test(one)), []);
  ok([...bySpecifier.keys()].some((one) => one.endsWith("src/kubernetes/kubeconfig.ts")));
  ok([...bySpecifier.keys()].some((one) => one.includes("valibot")));
});
