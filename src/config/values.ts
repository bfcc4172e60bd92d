/**
 * Parsers of configuration values: one for each kind of value that a flag, a
 * variable or a file can hold. They know no setting by name, and they read
 * nothing but the text they are given.
 *
 * @module
 */

/** Parses one kind of value. */
export interface ValueParser<T> {
  /** What a valid value is, to complete "must be …" in an error message. */
  readonly expected: string;
  /** Parses a value; returns undefined if the text is not valid. */
  readonly parse: (raw: string) => T | undefined;
}

/** Where the server listens. */
export interface ListenAddress {
  /** A host name, or an IPv4 or IPv6 address without brackets. `0.0.0.0` and `::` stand for every address of both. */
  readonly hostname: string;
  /** The port, from 0 to 65535. Port 0 takes a free one. */
  readonly port: number;
}

/** Where the locks are stored. */
export type StoreChoice =
  | { readonly kind: "kubernetes" }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "memory" };

/** Any text. */
export function text(expected: string): ValueParser<string> {
  return { expected, parse: (raw) => raw };
}

/** One of several words, exactly as written. */
export function oneOf<const T extends string>(...words: readonly T[]): ValueParser<T> {
  return {
    expected: [words.slice(0, -1).join(", "), ...words.slice(-1)].filter((part) => part !== "").join(" or "),
    parse: (raw) => words.find((word) => word === raw),
  };
}

/** An integer from 1 to 999999999. */
export const positiveInteger: ValueParser<number> = {
  expected: "an integer from 1 to 999999999",
  parse(raw) {
    const value = /^\d{1,9}$/.test(raw) ? Number(raw) : 0;
    return value >= 1 ? value : undefined;
  },
};

/** A boolean: `1`, `t`, `true`, `0`, `f` or `false`, in any case, as Go's flag package takes it. */
export const boolean: ValueParser<boolean> = {
  expected: "true or false",
  parse(raw) {
    if (/^(1|t|true)$/i.test(raw)) return true;
    return /^(0|f|false)$/i.test(raw) ? false : undefined;
  },
};

const MS_PER_UNIT = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/**
 * The longest duration, in milliseconds: 596 hours. A timer of 2^31 ms, which is half an hour more, would fire at once.
 */
const LONGEST_MS = 596 * MS_PER_UNIT.h;

/**
 * A duration as Go writes it, such as `1h30m` or `1.5s`, in milliseconds: from
 * 1 ms to 596 hours, which is about 24 days. The units are `ms`, `s`, `m` and `h`.
 */
export const duration: ValueParser<number> = {
  expected: "a duration from 1ms to 596h, as in 90s, 15m or 1h30m",
  parse(raw) {
    if (!/^(\d{1,9}(\.\d+)?(ms|s|m|h))+$/.test(raw)) return undefined;
    let total = 0;
    for (const [, amount, unit] of raw.matchAll(/([\d.]+)(ms|s|m|h)/g)) {
      total += Number(amount) * MS_PER_UNIT[unit as keyof typeof MS_PER_UNIT];
    }
    return total >= 1 && total <= LONGEST_MS ? total : undefined;
  },
};

/** The name of a namespace: a label as RFC 1123 has it. */
export const namespaceName: ValueParser<string> = {
  expected: 'the name of a namespace: up to 63 of a-z, 0-9 and "-", with a letter or digit at both ends',
  parse: (raw) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(raw) ? raw : undefined,
};

/** `host:port`, `[v6]:port`, or `:port`, which stands for `0.0.0.0:port`. */
export const listenAddress: ValueParser<ListenAddress> = {
  expected: 'host:port, as in "0.0.0.0:8080" or "[::]:8080"',
  parse(raw) {
    const match = /^(?:\[(?<v6>[0-9a-fA-F:.%a-z]+)\]|(?<host>[^\s:[\]/]*)):(?<port>\d{1,5})$/.exec(raw);
    const port = Number(match?.groups?.port);
    if (match === null || port > 65_535) return undefined;
    return { hostname: match.groups?.v6 ?? (match.groups?.host || "0.0.0.0"), port };
  },
};

/**
 * A path such as `/fleetlock` or `/a/b`, without the slash at its end. The root, `/`, and nothing are the empty text.
 * Its segments are letters, digits and `.`, `_`, `~`, `-`, which no proxy and no client writes in another way.
 */
export const basePath: ValueParser<string> = {
  expected: 'a path of letters, digits and "._~-", as in "/fleetlock"',
  parse(raw) {
    const path = raw.replace(/\/$/, "");
    return /^(\/(?!\.{1,2}(\/|$))[\w.~-]+)*$/.test(path) ? path : undefined;
  },
};

/** `kubernetes`, `sqlite:PATH` or `memory`. */
export const storeChoice: ValueParser<StoreChoice> = {
  expected: 'kubernetes, sqlite:PATH or memory, as in "sqlite:/var/lib/fleetlock/locks.db"',
  parse(raw) {
    if (raw === "kubernetes" || raw === "memory") return { kind: raw };
    const path = /^sqlite:(.+)$/s.exec(raw)?.[1];
    return path === undefined ? undefined : { kind: "sqlite", path };
  },
};
