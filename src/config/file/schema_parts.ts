/**
 * What the schema of the configuration file is made of: texts that a parser reads, words, amounts. It knows no key.
 *
 * @module
 */

import type { GenericSchema } from "valibot";
import * as v from "valibot";
import { parseLabelSelector } from "../../kubernetes/label_selector.ts";
import type { Amount } from "../../policies/options.ts";
import { percentage, type TextParser } from "./texts.ts";

/** A label selector that selects something. */
export const labelSelector: TextParser<string> = {
  expected: "a label selector, as in app=web or node-role.kubernetes.io/worker",
  pattern: /\S/,
  parse(raw) {
    if (raw.trim() === "") return undefined;
    try {
      parseLabelSelector(raw);
      return raw;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  },
};

/** A text that a parser reads. */
export function text<T>(
  { expected, pattern, parse }: TextParser<T>,
  description: string,
): GenericSchema<string, T> {
  const message = `must be ${expected}`;
  return v.pipe(
    v.string(message),
    v.regex(pattern, message),
    // Editors get what stands before the first transformation.
    v.description(description),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const value = parse(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message });
      return NEVER;
    }),
  );
}

/** One of several words. */
export function word<const T extends string>(words: readonly T[], description: string): GenericSchema<T> {
  const list = `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  return v.pipe(v.picklist(words, `must be ${list}`), v.description(description));
}

/** A whole number from `least`, or a percentage above 0 where `least` is. */
export function amount(
  least: 0 | 1,
  expected: string,
  description: string,
): GenericSchema<number | string, Amount> {
  const message = `must be ${expected}`;
  return v.pipe(
    v.union([
      v.pipe(
        v.number(message),
        v.integer(message),
        v.minValue(least, message),
        v.maxValue(999_999_999, message),
        v.transform((value): Amount => ({ kind: "number", value })),
      ),
      v.pipe(
        text({ ...percentage, expected }, ""),
        v.check(({ value }: Amount) => least === 0 || value > 0, message),
      ),
    ], message),
    v.description(description),
  );
}

/** What is said about a value that is not a list of something. */
export const list = (what: string): string => `must be a list of ${what}`;
