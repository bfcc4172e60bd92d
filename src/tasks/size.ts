/**
 * A lint plugin that keeps functions and files of the program short enough to read in one go. `deno lint` loads it; it
 * runs no part of the program.
 *
 * A file may be longer when its module comment says why, in a line that starts with "Longer than 330 lines because".
 * A function may not: part it.
 *
 * @module
 */

import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const MAX_FUNCTION_LINES = 60;
const MAX_FILE_LINES = 330;

const root = fileURLToPath(new URL("../../", import.meta.url));
const REASON = new RegExp(`^ \\* Longer than ${MAX_FILE_LINES} lines because \\S`, "m");

type FunctionNode =
  | Deno.lint.FunctionDeclaration
  | Deno.lint.FunctionExpression
  | Deno.lint.ArrowFunctionExpression;

/** Reports a function of more lines than one screen shows, its inner functions counted too. */
const functions: Deno.lint.Rule = {
  create(context) {
    if (!isProgram(context.filename)) return {};
    const check = (node: FunctionNode) => {
      const lines = countLines(context.sourceCode.text.slice(...node.range));
      if (lines <= MAX_FUNCTION_LINES) return;
      const message = `This function has ${lines} lines: part it so that none has more than ${MAX_FUNCTION_LINES}`;
      context.report({ node, message });
    };
    return { FunctionDeclaration: check, FunctionExpression: check, ArrowFunctionExpression: check };
  },
};

/** Reports a long file whose module comment gives no reason. */
const files: Deno.lint.Rule = {
  create(context) {
    if (!isProgram(context.filename)) return {};
    return {
      Program(node) {
        const { text } = context.sourceCode;
        const lines = countLines(text.trimEnd());
        const comment = /^\/\*\*[^]*?\*\//.exec(text)?.[0] ?? "";
        if (lines <= MAX_FILE_LINES || REASON.test(comment)) return;
        const message = `This file has ${lines} lines: part it so that none has more than ${MAX_FILE_LINES}, ` +
          `or give the reason in its module comment ("Longer than ${MAX_FILE_LINES} lines because ...")`;
        context.report({ node, message });
      },
    };
  },
};

/** Whether a file is part of the program. Tests may be longer. */
function isProgram(filename: string): boolean {
  return /^(main\.ts$|src\/)/.test(relative(root, filename));
}

function countLines(text: string): number {
  return text.split("\n").length;
}

/** The plugin. */
const plugin: Deno.lint.Plugin = { name: "size", rules: { functions, files } };
export default plugin;
