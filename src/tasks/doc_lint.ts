/**
 * Checks that every export of the program is documented: runs `deno doc --lint`
 * on all files of `src` and on those that the arguments name. `deno doc --lint`
 * reports each type of an npm package as private; this script drops those
 * findings and no others.
 *
 * @module
 */

import { sourceFiles } from "./source_files.ts";

/** One finding of `deno doc --lint`. */
interface Finding {
  readonly text: string;
  readonly code: string;
  readonly file: string;
  readonly type?: string;
}

const files = [...Deno.args, ...sourceFiles("src")];
const { success, stderr } = await new Deno.Command(Deno.execPath(), {
  args: ["doc", "--lint", ...files],
  env: { NO_COLOR: "1" },
  stdout: "null",
}).output();
const output = new TextDecoder().decode(stderr);
const findings = parse(output);
if (!success && findings.length === 0) {
  console.error(output);
  Deno.exitCode = 1;
}
const serious = findings.filter((finding) => !isOfPackage(finding));
for (const { text } of serious) console.error(text);
if (serious.length > 0) Deno.exitCode = 1;
else if (Deno.exitCode === 0) console.log(`Checked the documentation of ${files.length} files`);

function parse(text: string): Finding[] {
  return text.split(/^(?=error\[)/m).flatMap((part) => {
    const code = /^error\[([a-z-]+)\]/.exec(part)?.[1];
    const file = /--> (.+?):\d+:\d+/.exec(part)?.[1];
    if (code === undefined || file === undefined) return [];
    return [{ text: part.trimEnd(), code, file, type: /references private type '(\w+)'/.exec(part)?.[1] }];
  });
}

/** Whether a finding concerns a type that its file imports from a package. */
function isOfPackage({ code, file, type }: Finding): boolean {
  if (code !== "private-type-ref" || type === undefined) return false;
  const source = Deno.readTextFileSync(file);
  for (const [, names, from] of source.matchAll(/import (?:type )?\{([^}]*)\} from "([^"]+)"/g)) {
    if (!from!.startsWith(".") && new RegExp(`\\b${type}\\b`).test(names!)) return true;
  }
  return false;
}
