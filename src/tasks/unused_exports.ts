/**
 * Fails when `src` exports a name that nothing imports. A name is in use when another file of `src` or `tests`, or
 * main.ts, imports it, or imports its module as a whole or dynamically. A type is also in use when the signature of
 * another export of its file mentions it, because `deno doc --lint` demands that such a type is exported.
 *
 * The script reads statements with regular expressions. It relies on `deno fmt`: a declaration starts at the beginning
 * of a line, and its body is indented.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { sourceFiles } from "./source_files.ts";

/** One export that nothing imports. */
export interface UnusedExport {
  /** The path of the file, as given. */
  readonly file: string;
  /** The line of the export, from 1. */
  readonly line: number;
  /** The exported name; `default` for the default export. */
  readonly name: string;
}

/** One export of a file. */
interface Export {
  readonly name: string;
  readonly line: number;
  /** The part of the declaration that the callers see, without function bodies and private members. */
  readonly signature: string;
}

const KEYWORDS = "(?:declare |abstract |async )*(?:function\\*?|class|interface|type|enum|const|let|namespace)";
const DECLARATION = new RegExp(`^export ${KEYWORDS} (\\w+)`);
const EXPORT_LIST = /^export (?:type )?\{([^}]*)\}/;
const NAMED_IMPORT = /^(?:import|export) (?:type )?(?:(\w+)(?:, )?)? ?(?:\{([^}]*)\} )?from "(\.[^"]+)"/gm;
const WHOLE_IMPORT = /^(?:import|export) (?:type )?\*[^"]*from "(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;

/**
 * Finds the exports that nothing imports.
 *
 * @param sources The text of each file by its path: those whose exports are looked at, and those that may import them.
 * @param isChecked Whether the exports of the file with this path must be in use.
 */
export function findUnusedExports(
  sources: ReadonlyMap<string, string>,
  isChecked: (file: string) => boolean,
): UnusedExport[] {
  const imported = findImported(sources);
  return [...sources].filter(([file]) => isChecked(file)).flatMap(([file, text]) => {
    const names = imported.get(file);
    if (names?.has("*")) return [];
    const exports = findExports(text);
    return exports
      .filter((each) => !names?.has(each.name) && !exports.some((other) => mentions(other, each.name)))
      .map(({ line, name }) => ({ file, line, name }));
  });
}

/** The names that other files import, by the path of the file that exports them; `*` stands for all names. */
function findImported(sources: ReadonlyMap<string, string>): Map<string, Set<string>> {
  const imported = new Map<string, Set<string>>();
  const note = (importer: string, specifier: string, names: readonly string[]) => {
    const file = join(dirname(importer), specifier);
    imported.set(file, new Set([...imported.get(file) ?? [], ...names]));
  };
  for (const [file, text] of sources) {
    for (const [, byDefault, list, specifier] of text.matchAll(NAMED_IMPORT)) {
      note(file, specifier!, [...(byDefault ? ["default"] : []), ...namesIn(list ?? "").map(([name]) => name)]);
    }
    for (const [, specifier, dynamic] of text.matchAll(WHOLE_IMPORT)) note(file, (specifier ?? dynamic)!, ["*"]);
  }
  return imported;
}

/** The entries of an import or export list, each with its name on the left and on the right of `as`. */
function namesIn(list: string): [left: string, right: string][] {
  return list.split(",").map((entry) => entry.trim().replace(/^type /, "")).filter(Boolean).map((entry) => {
    const [left, right = left] = entry.split(" as ");
    return [left!, right!];
  });
}

function findExports(text: string): Export[] {
  const lines = withoutComments(text).split("\n");
  return chunks(lines, 0).flatMap(({ line, lines }): Export[] => {
    const source = lines.join("\n");
    const list = EXPORT_LIST.exec(source)?.[1];
    if (list !== undefined) return namesIn(list).map(([, name]) => ({ name, line, signature: "" }));
    if (source.startsWith("export default ")) return [{ name: "default", line, signature: "" }];
    const name = DECLARATION.exec(source)?.[1];
    return name === undefined ? [] : [{ name, line, signature: signatureOf(lines) }];
  });
}

function mentions(other: Export, name: string): boolean {
  return other.name !== name && new RegExp(`\\b${name}\\b`).test(other.signature);
}

/** Blanks the documentation, so that a link in it does not count as a use. Keeps the lines. */
function withoutComments(text: string): string {
  return text.replace(/^ *\/\*\*[^]*?\*\//gm, (comment) => comment.replace(/[^\n]/g, ""));
}

/** Parts lines into the declarations that start at this indentation. A closing bracket continues a declaration. */
function chunks(lines: readonly string[], indent: number): { line: number; lines: string[] }[] {
  const start = new RegExp(`^ {${indent}}[\\w#[*]`);
  const found: { line: number; lines: string[] }[] = [];
  lines.forEach((text, index) => {
    if (start.test(text)) found.push({ line: index + 1, lines: [text] });
    else found.at(-1)?.lines.push(text);
  });
  return found;
}

function signatureOf(declaration: readonly string[]): string {
  const [head = "", ...rest] = declaration;
  if (/^export (abstract )?class /.test(head)) {
    const members = chunks(rest, 2).filter(({ lines }) =>
      !/^ *(static |readonly |override |async )*(#|private )/.test(lines[0]!)
    );
    return [head, ...members.map(({ lines }) => withoutBody(lines, 2))].join("\n");
  }
  return /^export (async )?function/.test(head) ? withoutBody(declaration, 0) : declaration.join("\n");
}

/** Drops what follows the last line of this indentation that opens a block. */
function withoutBody(lines: readonly string[], indent: number): string {
  const opens = new RegExp(`^ {${indent}}\\S.*\\{$`);
  const last = lines.findLastIndex((line) => opens.test(line));
  return (last < 0 ? lines : lines.slice(0, last + 1)).join("\n");
}

if (import.meta.main) {
  const files = ["main.ts", ...sourceFiles("src"), ...sourceFiles("tests")];
  const sources = new Map(files.map((file) => [file, Deno.readTextFileSync(file)]));
  // `deno lint` loads the default exports of the lint plugins.
  const unused = findUnusedExports(sources, (file) => file.startsWith("src/"));
  for (const { file, line, name } of unused) console.error(`${file}:${line}: nothing imports the export ${name}`);
  if (unused.length > 0) Deno.exitCode = 1;
  else console.log(`Checked the exports of ${files.filter((file) => file.startsWith("src/")).length} files`);
}
