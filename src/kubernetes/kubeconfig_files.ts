/**
 * Reads the files of a kubeconfig and finds what its current context names, as
 * kubectl does. It makes no use of what it finds and reads no other file.
 *
 * The client library's own loader refuses much that kubectl takes, such as a name
 * in two files, and ignores some fields.
 *
 * @see https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
 * @module
 */

import { boolYaml11Tag, CORE_SCHEMA, loadAll, mergeTag, YAMLException } from "js-yaml";
import { dirname, resolve } from "node:path";
import { ConfigError } from "../config/config_error.ts";
import { readFile } from "./access.ts";

/** What a kubeconfig's current context names. */
export interface CurrentContext {
  /** The cluster to call. */
  readonly cluster: KubeconfigEntry;
  /** Who calls it. It has no fields if the context does not name a user, as behind `kubectl proxy`. */
  readonly user: KubeconfigEntry;
  /** The namespace that kubectl uses where none is given, if the context names one. */
  readonly namespace: string | undefined;
}

/** The lists of a kubeconfig, and the field in which an entry of each has its content. */
const LISTS = { clusters: "cluster", users: "user", contexts: "context" } as const;

type ListName = keyof typeof LISTS;

type Entries = Record<ListName, Map<string, KubeconfigEntry>>;

/** An entry of one of a kubeconfig's lists. Its methods check the type of a field when it is used. */
export class KubeconfigEntry {
  /** Names it in errors, such as `the user "a" of the kubeconfig /b`. */
  readonly where: string;
  readonly #folder: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /**
   * Takes the content of an entry.
   *
   * @param kind "cluster", "user" or "context".
   * @param file The path of its file.
   */
  constructor(kind: string, name: string, file: string, fields: Readonly<Record<string, unknown>>) {
    this.where = `the ${kind} "${name}" of the kubeconfig ${file}`;
    this.#folder = dirname(resolve(file));
    this.#fields = fields;
  }

  /**
   * Gets a text.
   *
   * @returns Undefined if it is missing or empty.
   * @throws {ConfigError} It is not a text.
   */
  text(field: string): string | undefined {
    const value = this.#get(field);
    if (value === undefined) return undefined;
    if (typeof value !== "string") throw this.#wrong(field, "a string: put it in quotes");
    return value || undefined;
  }

  /**
   * Gets the path of a file, which is relative to the kubeconfig's folder.
   *
   * @returns An absolute path. Undefined if it is missing or empty.
   * @throws {ConfigError} It is not a text.
   */
  path(field: string): string | undefined {
    const path = this.text(field);
    return path === undefined ? undefined : resolve(this.#folder, path);
  }

  /**
   * Gets a boolean, which is false if it is missing.
   *
   * @throws {ConfigError} It is not a boolean.
   */
  flag(field: string): boolean {
    const value = this.#get(field) ?? false;
    if (typeof value !== "boolean") throw this.#wrong(field, "a boolean: write true or false, without quotes");
    return value;
  }

  /**
   * Gets a list of texts, which is empty if it is missing.
   *
   * @throws {ConfigError} It is not a list of texts.
   */
  texts(field: string): readonly string[] {
    const value = this.#get(field) ?? [];
    if (!isTexts(value)) throw this.#wrong(field, "a list of strings: correct it");
    return value;
  }

  /**
   * Gets an object whose values are lists of texts. It is empty if it is missing.
   *
   * @throws {ConfigError} It is not such an object.
   */
  textLists(field: string): Readonly<Record<string, readonly string[]>> {
    const value = this.object(field) ?? {};
    for (const each of Object.values(value)) {
      if (!isTexts(each)) throw this.#wrong(field, "an object with lists of strings: correct it");
    }
    return value as Record<string, readonly string[]>;
  }

  /**
   * Gets an object.
   *
   * @returns Undefined if it is missing.
   * @throws {ConfigError} It is not an object.
   */
  object(field: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.#get(field);
    if (value !== undefined && !isObject(value)) throw this.#wrong(field, "an object: correct it");
    return value;
  }

  /** Resolves a command as kubectl does: one with a slash is relative to the kubeconfig's folder. */
  resolveCommand(command: string): string {
    return command.includes("/") ? resolve(this.#folder, command) : command;
  }

  #get(field: string): unknown {
    return Object.hasOwn(this.#fields, field) ? this.#fields[field] ?? undefined : undefined;
  }

  #wrong(field: string, expected: string): ConfigError {
    return new ConfigError(`The field "${field}" of ${this.where} is not ${expected}`);
  }
}

/**
 * Reads kubeconfig files and finds what their current context names.
 *
 * @param path A file, or several joined by `:`. The first to name something wins. A file that does not exist is
 *   ignored if another does, and so is an empty one.
 * @throws {ConfigError} A file cannot be read, or what its current context names is missing.
 */
export async function readKubeconfig(path: string): Promise<CurrentContext> {
  const entries: Entries = { clusters: new Map(), users: new Map(), contexts: new Map() };
  let current = "";
  let hasContent = false;
  for (const [file, text] of await readFiles(path)) {
    const content = parse(file, text);
    if (content === undefined) continue;
    hasContent = true;
    for (const list of Object.keys(LISTS) as ListName[]) addEntries(entries[list], list, file, content[list]);
    const named = content["current-context"] ?? "";
    if (typeof named !== "string") throw unusable(file, 'its "current-context" is not a string: put it in quotes');
    current ||= named;
  }
  if (!hasContent) {
    throw new ConfigError(`The kubeconfig ${path} is empty: write it, or set KUBECONFIG to the path of another`);
  }
  return find(entries, current, path);
}

/** Reads the files that exist. */
async function readFiles(path: string): Promise<Map<string, string>> {
  const paths = path.split(":").filter((each) => each !== "");
  const found = new Map<string, string>();
  let missing: ConfigError | undefined;
  for (const each of paths) {
    try {
      found.set(each, await readFile(each, "kubeconfig", "correct KUBECONFIG"));
    } catch (error) {
      const isMissing = error instanceof ConfigError && error.cause instanceof Deno.errors.NotFound;
      if (!isMissing) throw error;
      missing ??= error;
    }
  }
  if (found.size > 0) return found;
  if (missing !== undefined && paths.length === 1) throw missing;
  throw new ConfigError(`Cannot read the kubeconfig ${path}: none of its files exists; correct KUBECONFIG`);
}

/**
 * Parses the first document of a file as kubectl does. Like kubectl's, the parser takes `yes` for true, merge keys,
 * and a key that is given twice, whose last value it uses.
 *
 * @returns Undefined for an empty file.
 */
function parse(file: string, text: string): Readonly<Record<string, unknown>> | undefined {
  const check = 'check it with "kubectl config view"';
  let content: unknown;
  try {
    const schema = CORE_SCHEMA.withTags(mergeTag, boolYaml11Tag);
    content = loadAll(firstDocument(text), { schema, json: true })[0];
  } catch (error) {
    // The error itself would quote the file, which holds secrets.
    const place = error instanceof YAMLException && error.mark !== undefined ? ` in line ${error.mark.line + 1}` : "";
    const reason = error instanceof YAMLException ? error.reason : "it is not valid YAML";
    throw unusable(file, `${reason}${place}; ${check}`);
  }
  if (content === undefined || content === null) return undefined;
  if (!isObject(content)) throw unusable(file, `it is not a YAML object; ${check}`);
  return content;
}

/** Gets the text of the first document. kubectl does not read the rest, which may not even be YAML. */
function firstDocument(text: string): string {
  const [first = "", second = ""] = text.split(/^(?=---(?:\s|$))/m);
  const isPreamble = first.split("\n").every((line) => /^(?:\s*(?:#.*)?|%.*)$/.test(line));
  return isPreamble ? first + second : first;
}

/** Adds the entries of a file's list that are new. Ignores those without a name, since no context can name them. */
function addEntries(known: Map<string, KubeconfigEntry>, list: ListName, file: string, value: unknown): void {
  const kind = LISTS[list];
  const own = new Set<string>();
  if (value !== undefined && value !== null && !Array.isArray(value)) throw unusable(file, `"${list}" is not a list`);
  for (const each of (value ?? []) as unknown[]) {
    if (each === null) continue;
    if (!isObject(each)) throw unusable(file, `an entry of "${list}" is not an object`);
    const { name, [kind]: fields } = each;
    if (name === undefined || name === null || name === "") continue;
    if (typeof name !== "string") throw unusable(file, `a name in "${list}" is not a string: put it in quotes`);
    if (own.has(name)) throw unusable(file, `it has the ${kind} "${name}" twice: remove one`);
    own.add(name);
    if (fields !== undefined && fields !== null && !isObject(fields)) {
      throw unusable(file, `its ${kind} "${name}" is not an object`);
    }
    if (!known.has(name)) known.set(name, new KubeconfigEntry(kind, name, file, fields ?? {}));
  }
}

function find(entries: Entries, current: string, path: string): CurrentContext {
  const choose = 'with "kubectl config use-context NAME"';
  if (current === "") throw new ConfigError(`The kubeconfig ${path} has no current context: choose one ${choose}`);
  const get = (list: ListName, name: string): KubeconfigEntry => {
    const entry = entries[list].get(name);
    if (entry !== undefined) return entry;
    const missing = list === "contexts" ? "context" : `${LISTS[list]} "${name}"`;
    throw new ConfigError(
      `The kubeconfig ${path} does not have the ${missing} of its current context "${current}": choose another ${choose}`,
    );
  };
  const context = get("contexts", current);
  const cluster = context.text("cluster");
  if (cluster === undefined) {
    throw new ConfigError(`There is no cluster in ${context.where}: choose another context, or name a cluster in it`);
  }
  const user = context.text("user");
  return {
    cluster: get("clusters", cluster),
    user: user === undefined ? new KubeconfigEntry("user", "", path, {}) : get("users", user),
    namespace: context.text("namespace"),
  };
}

function unusable(file: string, why: string): ConfigError {
  return new ConfigError(`The kubeconfig ${file} cannot be used: ${why}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}
