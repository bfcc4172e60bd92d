/**
 * Reads the text of a configuration file, YAML or JSON, into a tree that knows
 * where each value stands. It knows no key, and reads no files.
 *
 * @module
 */

import {
  type Event,
  EVENT_ALIAS,
  EVENT_DOCUMENT,
  EVENT_MAPPING,
  EVENT_POP,
  EVENT_SCALAR,
  getScalarValue,
  parseEvents,
  SCALAR_STYLE_DOUBLE_QUOTED,
  SCALAR_STYLE_PLAIN,
  SCALAR_STYLE_SINGLE_QUOTED,
  type ScalarEvent,
  YAMLException,
} from "js-yaml";

/** A value of the file and where it begins, as an offset into the text. */
export type SourceNode = MappingNode | SequenceNode | ScalarNode;

/** A mapping. */
export interface MappingNode {
  /** What it is. */
  readonly kind: "mapping";
  /** Where it begins. */
  readonly offset: number;
  /** The pairs in their order, each key once. */
  readonly pairs: { readonly key: string; readonly keyOffset: number; readonly value: SourceNode }[];
}

/** A list. */
export interface SequenceNode {
  /** What it is. */
  readonly kind: "sequence";
  /** Where it begins. */
  readonly offset: number;
  /** The items in their order. */
  readonly items: SourceNode[];
}

/** A single value. */
export interface ScalarNode {
  /** What it is. */
  readonly kind: "scalar";
  /** Where it begins, its quote included. */
  readonly offset: number;
  /** The value. */
  readonly value: string | number | boolean | null;
}

/** Where a value stands below the top of the file: keys of mappings and indexes of lists. */
export type KeyPath = readonly (string | number)[];

/** Something in a file that is not valid. */
export interface Problem {
  /** Where it stands, as an offset into the text. */
  readonly offset: number;
  /** Which value it is about; empty for the whole file. */
  readonly path: KeyPath;
  /** What was expected and what there is, to be read after the key. */
  readonly message: string;
}

/** A file's text as a tree, and what is wrong with it already. */
export interface Source {
  /** The top of the file; undefined where the text cannot be parsed or is empty. */
  readonly root: SourceNode | undefined;
  /** What is wrong. */
  readonly problems: readonly Problem[];
}

/**
 * Parses a text. The values are those of YAML 1.2, of which JSON is a part. Anchors and aliases work; tags do not.
 *
 * @returns The tree, and every problem that was found: one, where the text is not YAML.
 */
export function parseSource(text: string): Source {
  try {
    const composer = new Composer(text, parseEvents(text, {}));
    return { root: composer.compose(), problems: composer.problems };
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const offset = Math.min(error.mark?.position ?? 0, text.length);
    return { root: undefined, problems: [{ offset, path: [], message: `is not valid YAML or JSON: ${error.reason}` }] };
  }
}

/** Turns a tree into the values that it describes. What the file repeats with an alias is one value. */
export function valueOf(node: SourceNode): unknown {
  // Without this, a few lines of aliases to aliases would fill the memory.
  const made = new Map<SourceNode, unknown>();
  const make = (node: SourceNode): unknown => {
    if (node.kind === "scalar") return node.value;
    if (!made.has(node)) {
      const value = node.kind === "sequence"
        ? node.items.map(make)
        : Object.fromEntries(node.pairs.map(({ key, value }) => [key, make(value)]));
      made.set(node, value);
    }
    return made.get(node);
  };
  return make(node);
}

/** Finds a value below a node; undefined where there is none. */
export function nodeAt(node: SourceNode | undefined, path: KeyPath): SourceNode | undefined {
  for (const step of path) {
    if (node?.kind === "mapping") node = node.pairs.find(({ key }) => key === step)?.value;
    else if (node?.kind === "sequence" && typeof step === "number") node = node.items[step];
    else return undefined;
  }
  return node;
}

/** Finds where a value begins, or, where it is missing, the innermost value around its place. */
export function offsetAt(node: SourceNode, path: KeyPath): number {
  for (let length = path.length; length > 0; length--) {
    const found = nodeAt(node, path.slice(0, length));
    if (found !== undefined) return found.offset;
  }
  return node.offset;
}

/** Builds the tree out of the parser's events. */
class Composer {
  readonly problems: Problem[] = [];
  readonly #text: string;
  readonly #events: readonly Event[];
  readonly #anchors = new Map<string, SourceNode>();
  #next = 0;
  /** Where the last scalar ended. */
  #end = 0;

  constructor(text: string, events: readonly Event[]) {
    this.#text = text;
    this.#events = events;
  }

  compose(): SourceNode | undefined {
    // A text without a document is empty, and so is a document that ends at once.
    const [, second] = this.#events;
    if (second === undefined || second.type === EVENT_POP) {
      // An editor may empty a file before it writes it, so an empty one must not stand for one without any rule.
      this.#report(0, [], "is empty: write {} if there is nothing to say");
      return undefined;
    }
    this.#next = 1;
    const root = this.#node([], 0);
    if (this.#events.slice(this.#next).some(({ type }) => type === EVENT_DOCUMENT)) {
      this.#report(this.#text.length, [], "must be one document: it has several");
    }
    return root;
  }

  #node(path: KeyPath, fallback: number): SourceNode {
    const event = this.#events[this.#next++]!;
    if (event.type === EVENT_DOCUMENT || event.type === EVENT_POP) {
      throw new TypeError("Cannot compose a value from the end of another");
    }
    if (event.type === EVENT_ALIAS) return this.#alias(event.anchorStart, event.anchorEnd, path);
    if (event.tagStart >= 0) this.#report(event.tagStart, path, "must not have a tag");
    const node = event.type === EVENT_SCALAR
      ? this.#scalar(event, fallback)
      : event.type === EVENT_MAPPING
      ? this.#mapping(event.start, path)
      : this.#sequence(event.start, path);
    // Only now, so that a value cannot contain itself.
    if (event.anchorStart >= 0) this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), node);
    return node;
  }

  #alias(start: number, end: number, path: KeyPath): SourceNode {
    const name = this.#text.slice(start, end);
    const node = this.#anchors.get(name);
    if (node !== undefined) return node;
    this.#report(start - 1, path, `stands for the anchor "${name}", which is not defined before it`);
    return { kind: "scalar", offset: start - 1, value: null };
  }

  #mapping(offset: number, path: KeyPath): MappingNode {
    const pairs: MappingNode["pairs"] = [];
    const keys = new Set<string>();
    for (let event = this.#peek(); event.type !== EVENT_POP; event = this.#peek()) {
      if (event.type !== EVENT_SCALAR) {
        const at = event.type === EVENT_ALIAS
          ? event.anchorStart - 1
          : event.type === EVENT_DOCUMENT
          ? offset
          : event.start;
        this.#report(at, path, "must have texts as its keys");
        this.#node(path, offset);
        this.#node(path, offset);
        continue;
      }
      this.#next++;
      const key = getScalarValue(this.#text, event);
      const keyOffset = startOf(event, offset);
      const value = this.#node([...path, key], keyOffset);
      if (keys.has(key)) this.#report(keyOffset, [...path, key], "stands here a second time");
      else pairs.push({ key, keyOffset, value });
      keys.add(key);
    }
    this.#next++;
    return { kind: "mapping", offset, pairs };
  }

  /** The next event. A value is always followed by the end of what contains it. */
  #peek(): Event {
    return this.#events[this.#next]!;
  }

  #sequence(offset: number, path: KeyPath): SequenceNode {
    const items: SourceNode[] = [];
    while (this.#peek().type !== EVENT_POP) {
      // An empty item has no place of its own: its dash is the next one.
      const dash = this.#text.indexOf("-", Math.max(offset, this.#end));
      items.push(this.#node([...path, items.length], dash < 0 ? offset : dash));
    }
    this.#next++;
    return { kind: "sequence", offset, items };
  }

  #scalar(event: ScalarEvent, fallback: number): ScalarNode {
    this.#end = Math.max(this.#end, event.valueEnd);
    const text = event.valueStart < 0 ? "" : getScalarValue(this.#text, event);
    return {
      kind: "scalar",
      offset: startOf(event, fallback),
      value: event.style === SCALAR_STYLE_PLAIN ? plainValue(text) : text,
    };
  }

  #report(offset: number, path: KeyPath, message: string): void {
    this.problems.push({ offset, path, message });
  }
}

/** The offset at which a scalar begins, its quote included; `fallback` for an empty one. */
function startOf(event: ScalarEvent, fallback: number): number {
  if (event.valueStart < 0) return fallback;
  return event.style === SCALAR_STYLE_SINGLE_QUOTED || event.style === SCALAR_STYLE_DOUBLE_QUOTED
    ? event.valueStart - 1
    : event.valueStart;
}

/** What a text without quotes stands for, by the core schema of YAML 1.2. Numbers are decimal. */
function plainValue(text: string): ScalarNode["value"] {
  if (/^(~|null|Null|NULL)?$/.test(text)) return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  return /^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$/.test(text) ? Number(text) : text;
}
