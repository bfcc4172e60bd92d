/**
 * Label selectors in the syntax of kubectl's `--selector`. They are evaluated here, because the objects that they
 * select are already in memory. Pure.
 *
 * @module
 */

/** The labels of an object; absent where it has none. */
export type Labels = Readonly<Record<string, string>> | undefined;

/** Whether an object's labels match a selector. */
export type LabelSelector = (labels: Labels) => boolean;

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const PREFIX = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const SET = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/;
const EQUALITY = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/;

/**
 * Parses a label selector: requirements joined by commas, all of which must hold. A requirement is `key=value`,
 * `key==value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key` or `!key`. As in Kubernetes, `!=` and `notin`
 * also match an object without the key.
 *
 * @returns A function that tests labels. A blank text matches nothing, unlike in Kubernetes.
 * @throws {SyntaxError} The text is not a label selector; the message names the wrong requirement.
 *
 * @see https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
 */
export function parseLabelSelector(text: string): LabelSelector {
  if (text.trim() === "") return () => false;
  const requirements = split(text).map((part) => parseRequirement(part.trim(), text));
  return (labels) => requirements.every((holds) => holds(labels));
}

/** Splits at the commas outside parentheses. */
function split(text: string): string[] {
  return text.split(/,(?![^(]*\))/);
}

function parseRequirement(part: string, whole: string): LabelSelector {
  const fail = (why: string): never => {
    throw new SyntaxError(`Cannot parse the label selector '${whole}': ${why}`);
  };
  const key = (name: string) => isKey(name) ? name : fail(`'${name}' is not a label key`);
  const value = (text: string) => text === "" || NAME.test(text) ? text : fail(`'${text}' is not a label value`);

  if (part === "") fail("a requirement is empty");
  const set = SET.exec(part);
  if (set !== null) {
    const name = key(set[1]!);
    if (set[3]!.trim() === "") fail(`'${part}' lists no values`);
    const values = new Set(set[3]!.split(",").map((one) => value(one.trim())));
    const wanted = set[2] === "in";
    return (labels) => {
      const actual = valueOf(labels, name);
      return actual === undefined ? !wanted : values.has(actual) === wanted;
    };
  }
  const equality = EQUALITY.exec(part);
  if (equality !== null) {
    const [name, wanted, negated] = [key(equality[1]!), value(equality[3]!), equality[2] === "!="];
    return (labels) => (valueOf(labels, name) === wanted) !== negated;
  }
  if (part.startsWith("!")) {
    const name = key(part.slice(1).trim());
    return (labels) => valueOf(labels, name) === undefined;
  }
  const name = key(part);
  return (labels) => valueOf(labels, name) !== undefined;
}

function isKey(text: string): boolean {
  const slash = text.lastIndexOf("/");
  const prefix = text.slice(0, Math.max(slash, 0));
  return NAME.test(text.slice(slash + 1)) && (slash < 0 || (prefix.length <= 253 && PREFIX.test(prefix)));
}

/** Reads own properties only: a label may be named `constructor`. */
function valueOf(labels: Labels, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}
