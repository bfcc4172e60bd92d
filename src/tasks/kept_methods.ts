/**
 * Leaves methods out of the classes of a module. A bundler keeps all methods of a class that is used, since it cannot
 * know which of them are called.
 *
 * @module
 */

import { type MethodDefinition, parse } from "acorn";

/**
 * Leaves out the methods of all top-level classes of a module, apart from their constructors and some others.
 *
 * @param source The module, JavaScript.
 * @param isKept Tells by the name of a method whether it stays. Methods without a name in plain text stay.
 * @returns The module without the others.
 * @throws {SyntaxError} The source is not a module.
 */
export function keepMethods(source: string, isKept: (name: string) => boolean): string {
  const { body } = parse(source, { ecmaVersion: "latest", sourceType: "module" });
  const dropped = body
    .map((statement) => statement.type === "ExportNamedDeclaration" ? statement.declaration : statement)
    .flatMap((statement) => statement?.type === "ClassDeclaration" ? statement.body.body : [])
    .filter((member): member is MethodDefinition => member.type === "MethodDefinition" && member.kind === "method")
    .filter(({ key, computed }) => key.type === "Identifier" && !computed && !isKept(key.name));
  let kept = "";
  let end = 0;
  for (const method of dropped) {
    kept += source.slice(end, method.start);
    end = method.end;
  }
  return kept + source.slice(end);
}
