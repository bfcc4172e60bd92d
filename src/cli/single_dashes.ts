/**
 * Flags with one dash, which Go's flag package accepts and the parser does not.
 * Pure.
 *
 * @module
 */

import type { Command } from "commander";

/**
 * Gives each flag of more than one letter two dashes. The value of a flag and what follows `--` stay as they are, since
 * a group, an id or a reason may begin with a dash.
 *
 * @param program The program with its commands, whose flags tell which take a value.
 */
export function doubleDashes(program: Command, args: readonly string[]): string[] {
  const result: string[] = [];
  const commands = [program];
  const takesValue = (flag: string) => {
    // The program's flags come before those of a command, as in the parser.
    const options = commands.flatMap(({ options }) => options);
    return options.find(({ long, short }) => flag === long || flag === short)?.required === true;
  };
  for (let at = 0; at < args.length; at++) {
    if (args[at] === "--") return [...result, ...args.slice(at)];
    const word = doubleDash(args[at]!);
    result.push(word);
    if (takesValue(word)) {
      result.push(...args.slice(at + 1, at + 2));
      at++;
    }
    const command = commands.at(-1)!.commands.find((each) => each.name() === word);
    if (command !== undefined) commands.push(command);
  }
  return result;
}

/** Gives a flag of more than one letter two dashes. */
export function doubleDash(arg: string): string {
  return /^-[a-z][a-z-]+(=|$)/.test(arg) ? `-${arg}` : arg;
}
