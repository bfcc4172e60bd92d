/**
 * The annotation by which a Node passes rules once: which names it may have, and which rules they pass. Pure.
 *
 * @module
 */

/** The names of all rules: their keys in the configuration file, or the names of what they obey. */
export const RULE_NAMES = [
  "allowUnknownGroups",
  "paused",
  "hold",
  "freeze",
  "allow",
  "deferred",
  "settle",
  "slots",
  "unavailable",
  "health.notReady",
  "health.blockingPods",
  "health.budgets",
  "health.prometheus",
  "health.alertmanager",
] as const;

/** One of {@link RULE_NAMES}. */
export type RuleName = typeof RULE_NAMES[number];

/**
 * Every name that the annotation may have: `all`, the rules, and what stands for all rules below it, such as `health`.
 */
export const SKIP_NAMES: readonly string[] = [
  ...new Set(["all", ...RULE_NAMES.flatMap((name) => name.includes(".") ? [name.split(".")[0]!, name] : [name])]),
];

/** The names in the value of the annotation. */
export function skipNames(value: string): string[] {
  return value.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/** The names in the value of the annotation that stand for no rule, so that they pass none. Each is named once. */
export function unknownSkips(value: string): string[] {
  return [...new Set(skipNames(value))].filter((name) => !SKIP_NAMES.includes(name));
}

/** Makes the test whether the value of the annotation passes a rule. */
export function passesOf(value: string): (rule: string) => boolean {
  const names = skipNames(value);
  return (rule) => names.some((name) => name === "all" || name === rule || rule.startsWith(`${name}.`));
}
