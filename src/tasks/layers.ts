/**
 * A lint plugin that keeps the layers apart: who may import whom, which package
 * may stand where, and who alone ends the process and reads the environment.
 * `deno lint` loads it; it runs no part of the program.
 *
 * @module
 */

import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The layers that each layer may import beside itself. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: ["service", "config", "config_error", "simulator", "telemetry"],
  service: ["config", "config_error", "http", "stores", "kubernetes", "telemetry", "lock"],
  config: ["config_error", "telemetry"],
  http: ["telemetry", "lock"],
  stores: ["config_error", "lock"],
  kubernetes: ["config_error", "lock"],
  telemetry: ["lock"],
  simulator: ["lock"],
  lock: [],
  config_error: [],
  tasks: [],
};

/** Packages with a place of their own, and where each may be imported, for its types only or at all. */
const PLACES: readonly { name: string; values: RegExp; types: RegExp }[] = [
  { name: "@kubernetes/client-node", values: /^src\/kubernetes\//, types: /^src\/(kubernetes\/|stores\/lease)/ },
  { name: "prom-client", values: /^src\/telemetry\/metrics\.ts$/, types: /^src\/telemetry\/metrics\.ts$/ },
];

const root = fileURLToPath(new URL("../../", import.meta.url));

type SourceNode = {
  readonly source: Deno.lint.Node | null;
  readonly importKind?: string;
  readonly exportKind?: string;
};

/** Reports an import that the layers do not allow. Tests and other files outside the program are free. */
const imports: Deno.lint.Rule = {
  create(context) {
    const file = relative(root, context.filename);
    const layer = layerOf(file);
    if (layer === undefined) return {};
    const check = (node: Deno.lint.Node & SourceNode) => {
      if (node.source?.type !== "Literal" || typeof node.source.value !== "string") return;
      const types = (node.importKind ?? node.exportKind) === "type";
      const message = breach(file, layer, node.source.value, types);
      if (message !== undefined) context.report({ node, message });
    };
    return {
      ImportDeclaration: check,
      ExportAllDeclaration: check,
      ExportNamedDeclaration: check,
      ImportExpression: check,
    };
  },
};

/** Reports who ends the process or reads the environment without being the one that may. */
const owners: Deno.lint.Rule = {
  create(context) {
    const file = relative(root, context.filename);
    const layer = layerOf(file);
    if (layer === undefined || layer === "tasks") return {};
    return {
      MemberExpression(node) {
        const of = node.object.type === "Identifier" ? node.object.name : "";
        const name = node.property.type === "Identifier"
          ? node.property.name
          : node.property.type === "Literal"
          ? node.property.value
          : "";
        if (of !== "Deno" && of !== "process") return;
        if (name === "exit" && layer !== "main") {
          context.report({ node, message: "Only main.ts ends the process: return an exit code" });
        }
        if (name === "env" && layer !== "config") {
          context.report({ node, message: "Only src/config.ts reads the environment: take a setting from the Config" });
        }
      },
    };
  },
};

/** The layer of a file, as a path from the project's root; undefined where it has none. */
function layerOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  return /^src\/([a-z_]+)(?:\/|\.ts$)/.exec(file)?.[1];
}

/** What is wrong with an import, as a sentence; undefined where nothing is. */
function breach(file: string, layer: string, specifier: string, types: boolean): string | undefined {
  if (/^\.\.?\//.test(specifier)) {
    const target = relative(root, resolve(root, dirname(file), specifier));
    if (target === "deno.json") return undefined;
    const other = layerOf(target);
    if (other === undefined) return `The program does not import ${target}, which is no part of it`;
    if (other === layer) return undefined;
    const allowed = LAYERS[layer];
    if (allowed === undefined) return `The layer ${layer} is not known: say in src/tasks/layers.ts what it may import`;
    if (allowed.includes(other)) return undefined;
    const list = allowed.length > 0 ? `only ${allowed.join(", ")}` : "no other layer";
    return `${layer} does not import ${other}: it may import ${list}`;
  }
  if (layer === "lock") return "lock imports nothing from outside: neither packages nor Node's modules";
  const place = PLACES.find(({ name }) => bare(specifier) === name || bare(specifier).startsWith(`${name}/`));
  if (place === undefined || place.values.test(file)) return undefined;
  if (place.types.test(file)) return types ? undefined : `Here ${place.name} may be imported for its types only`;
  return `${place.name} is not imported here: see src/tasks/layers.ts for its place`;
}

/** A specifier without `npm:` and version. */
function bare(specifier: string): string {
  return specifier.replace(/^npm:\/?/, "").replace(/(?<=.)@\d[^/]*/, "");
}

/** The plugin. */
const plugin: Deno.lint.Plugin = { name: "layers", rules: { imports, owners } };
export default plugin;
