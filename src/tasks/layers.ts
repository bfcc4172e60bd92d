/**
 * A lint plugin that keeps the rooms of the program apart: who may import whom, which package
 * may stand where, and who alone ends the process and reads the environment.
 * `deno lint` loads it; it runs no part of the program.
 *
 * @module
 */

import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The rooms that each room may import beside itself. A room is a folder or a file of `src`, named by its path there
 * without the ending; a file belongs to the longest name that fits.
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: ["service", "config", "config/config_error", "simulator", "telemetry"],
  service: [
    "config",
    "config/config_error",
    "http",
    "stores",
    "stores/lease",
    "keeper",
    "keeper/drain",
    "kubernetes",
    "telemetry",
    "lock",
  ],
  config: ["config/config_error", "config/values", "telemetry"],
  "config/config_error": [],
  "config/values": [],
  http: ["telemetry", "lock"],
  stores: ["stores/lease", "config", "config/config_error", "kubernetes", "lock"],
  "stores/lease": ["kubernetes", "lock"],
  keeper: ["keeper/drain", "keeper/nodes", "kubernetes", "lock"],
  "keeper/drain": ["keeper/nodes", "kubernetes", "lock"],
  "keeper/nodes": ["kubernetes", "lock"],
  kubernetes: ["config/config_error", "lock"],
  telemetry: ["lock"],
  simulator: ["config/values", "lock"],
  lock: [],
  tasks: [],
};

/** Packages with a place of their own, and where each may be imported, for its types only or at all. */
const PLACES: readonly { name: string; values: RegExp; types: RegExp }[] = [
  {
    name: "@kubernetes/client-node",
    values: /^src\/(kubernetes|keeper)\//,
    types: /^src\/(kubernetes|keeper|stores\/lease)\//,
  },
  { name: "prom-client", values: /^src\/telemetry\/\w*metrics\.ts$/, types: /^src\/telemetry\/\w*metrics\.ts$/ },
];

const root = fileURLToPath(new URL("../../", import.meta.url));

type SourceNode = {
  readonly source: Deno.lint.Node | null;
  readonly importKind?: string;
  readonly exportKind?: string;
};

/** Reports an import that no room may have. Tests and other files outside the program are free. */
const imports: Deno.lint.Rule = {
  create(context) {
    const file = relative(root, context.filename);
    const room = roomOf(file);
    if (room === undefined) return {};
    const check = (node: Deno.lint.Node & SourceNode) => {
      if (node.source?.type !== "Literal" || typeof node.source.value !== "string") return;
      const types = (node.importKind ?? node.exportKind) === "type";
      const message = breach(file, room, node.source.value, types);
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
    const room = roomOf(file);
    if (room === undefined || room === "tasks") return {};
    return {
      MemberExpression(node) {
        const of = node.object.type === "Identifier" ? node.object.name : "";
        const name = node.property.type === "Identifier"
          ? node.property.name
          : node.property.type === "Literal"
          ? node.property.value
          : "";
        if (of !== "Deno" && of !== "process") return;
        if (name === "exit" && room !== "main") {
          context.report({ node, message: "Only main.ts ends the process: return an exit code" });
        }
        if (name === "env" && room !== "config") {
          context.report({ node, message: "Only src/config/ reads the environment: take a setting from the Config" });
        }
      },
    };
  },
};

/** The room of a file, as a path from the project's root; undefined where it has none. */
function roomOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  let name = /^src\/(.+)\.ts$/.exec(file)?.[1];
  if (name === undefined) return undefined;
  const folder = name.split("/")[0];
  while (name.includes("/") && ROOMS[name] === undefined) name = name.slice(0, name.lastIndexOf("/"));
  return ROOMS[name] === undefined ? folder : name;
}

/** What is wrong with an import, as a sentence; undefined where nothing is. */
function breach(file: string, room: string, specifier: string, types: boolean): string | undefined {
  if (/^\.\.?\//.test(specifier)) {
    const target = relative(root, resolve(root, dirname(file), specifier));
    if (target === "deno.json") return undefined;
    const other = roomOf(target);
    if (other === undefined) return `The program does not import ${target}, which is no part of it`;
    if (other === room) return undefined;
    const allowed = ROOMS[room];
    if (allowed === undefined) return `The room ${room} is not known: say in src/tasks/layers.ts what it may import`;
    if (allowed.includes(other)) return undefined;
    const list = allowed.length > 0 ? `only ${allowed.join(", ")}` : "no other room";
    return `${room} does not import ${other}: it may import ${list}`;
  }
  if (room === "lock") return "lock imports nothing from outside: neither packages nor Node's modules";
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
