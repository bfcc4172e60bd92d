/** Commands for a person to paste into a shell. Pure. @module */

/**
 * Writes a command that ends with names that others chose. A name may begin with a dash, and a client's id may have
 * characters that mean something to a shell.
 *
 * @param command The command and its flags.
 * @param names The arguments.
 */
export function commandLine(command: string, ...names: readonly string[]): string {
  const separator = names.some((name) => name.startsWith("-")) ? ["--"] : [];
  return [command, ...separator, ...names.map(shellWord)].join(" ");
}

/** Quotes a word for a shell where it needs that. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
