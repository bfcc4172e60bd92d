/**
 * A lint plugin that enforces the layers of the program: which room may import
 * which, where each package may be imported, and which files may end the process
 * and read the environment. `deno lint` loads it; it runs no part of the program.
 *
 * @module
 */

import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The rooms that each room may import besides itself. A room is a folder or file of `src`; its name is the path in
 * `src` without the extension. A file belongs to the room with the longest matching name.
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: [
    "service",
    "operate",
    "operate/check",
    "config",
    "config/config_error",
    "config/file",
    "config/reload",
    "config/values",
    "policies",
    "simulator",
    "status",
    "telemetry",
    "lock",
  ],
  operate: [
    "config",
    "config/config_error",
    "config/values",
    "keeper/nodes",
    "kubernetes",
    "lock",
    "policies/skips",
    "status",
    "stores",
    "stores/lease",
  ],
  "operate/check": [
    "operate",
    "config/file",
    "config/reload",
    "keeper/drain",
    "keeper/nodes",
    "kubernetes",
    "lock",
    "policies",
    "policies/options",
    "service/permissions",
    "stores/lease",
  ],
  "service/permissions": ["config", "http", "keeper", "kubernetes", "policies/options", "stores/lease"],
  service: [
    "service/permissions",
    "config",
    "config/config_error",
    "config/reload",
    "http",
    "stores",
    "stores/lease",
    "keeper",
    "keeper/drain",
    "kubernetes",
    "kubernetes/label_selector",
    "policies",
    "policies/options",
    "policies/skips",
    "status",
    "telemetry",
    "lock",
  ],
  config: ["config/config_error", "config/values", "telemetry"],
  "config/reload": ["config/config_error", "config/file", "policies/options", "lock"],
  "config/file": ["config/config_error", "config/values", "kubernetes/label_selector", "policies/options", "lock"],
  "config/config_error": [],
  "config/values": [],
  policies: ["policies/options", "policies/skips", "kubernetes/label_selector", "lock"],
  "policies/options": [],
  "policies/skips": [],
  status: ["policies/options", "lock"],
  http: ["status", "telemetry", "lock"],
  stores: [
    "stores/lease",
    "stores/holder_record",
    "stores/notes_record",
    "config",
    "config/config_error",
    "kubernetes",
    "lock",
  ],
  "stores/lease": ["stores/holder_record", "stores/notes_record", "kubernetes", "lock"],
  "stores/holder_record": ["lock"],
  "stores/notes_record": ["lock"],
  keeper: ["keeper/drain", "keeper/nodes", "kubernetes", "kubernetes/label_selector", "lock"],
  "keeper/drain": ["keeper/nodes", "kubernetes", "kubernetes/label_selector", "lock"],
  "keeper/nodes": ["kubernetes", "kubernetes/label_selector", "lock"],
  kubernetes: ["kubernetes/called_methods", "config/config_error", "lock"],
  "kubernetes/called_methods": [],
  "kubernetes/label_selector": [],
  telemetry: ["lock"],
  simulator: ["config/values", "lock"],
  lock: [],
  tasks: ["kubernetes/called_methods"],
};

/** Packages that only some files may import: which files may import values, and which may import types. */
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

/** Reports a forbidden import. Tests and other files outside the program may import anything. */
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

/** Reports code that ends the process or reads the environment in the wrong room. */
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
          context.report({ node, message: "Only main.ts ends the process: return an exit code instead" });
        }
        if (name === "env" && room !== "config") {
          context.report({ node, message: "Only src/config/ reads the environment: take the value from the Config" });
        }
      },
    };
  },
};

/**
 * Finds the room of a file, given by its path from the project's root; undefined when it is not part of the program.
 */
function roomOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  let name = /^src\/(.+)\.(?:ts|html|css|js)$/.exec(file)?.[1];
  if (name === undefined) return undefined;
  const folder = name.split("/")[0];
  while (name.includes("/") && ROOMS[name] === undefined) name = name.slice(0, name.lastIndexOf("/"));
  return ROOMS[name] === undefined ? folder : name;
}

/** Explains in a sentence why an import is forbidden; undefined when it is allowed. */
function breach(file: string, room: string, specifier: string, types: boolean): string | undefined {
  if (/^\.\.?\//.test(specifier)) {
    const target = relative(root, resolve(root, dirname(file), specifier));
    if (target === "deno.json") return undefined;
    const other = roomOf(target);
    if (other === undefined) return `The program must not import ${target}, which is not part of it`;
    if (other === room) return undefined;
    const allowed = ROOMS[room];
    if (allowed === undefined) {
      return `The room ${room} is unknown: list in src/tasks/layers.ts which rooms it may import`;
    }
    if (allowed.includes(other)) return undefined;
    const list = allowed.length > 0 ? `only ${allowed.join(", ")}` : "no other room";
    return `${room} must not import ${other}: it may import ${list}`;
  }
  if (room === "lock") return "lock must not import packages or built-in modules";
  const place = PLACES.find(({ name }) => bare(specifier) === name || bare(specifier).startsWith(`${name}/`));
  if (place === undefined || place.values.test(file)) return undefined;
  if (place.types.test(file)) return types ? undefined : `This file may import only types from ${place.name}`;
  return `This file must not import ${place.name}: src/tasks/layers.ts lists the files that may`;
}

/** Removes `npm:` and the version from a specifier. */
function bare(specifier: string): string {
  return specifier.replace(/^npm:\/?/, "").replace(/(?<=.)@\d[^/]*/, "");
}

/** The plugin. */
const plugin: Deno.lint.Plugin = { name: "layers", rules: { imports, owners } };
export default plugin;
