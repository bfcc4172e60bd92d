/**
 * Stretches of time and their arithmetic, in milliseconds since the epoch. Pure.
 *
 * @module
 */

/**
 * A stretch of time from `from` (inclusive) to `to` (exclusive), in milliseconds since the epoch. It is never empty.
 */
export interface Span {
  /** Its first moment; -Infinity where it has always been. */
  readonly from: number;
  /** The first moment after it; Infinity where it never ends. */
  readonly to: number;
}

/** All of time. */
export const ALWAYS: Span = { from: -Infinity, to: Infinity };

/** Joins spans that overlap or touch. @returns The same moments, in order, as the fewest spans. */
export function union(spans: readonly Span[]): Span[] {
  const joined: Span[] = [];
  for (const span of spans.filter(({ from, to }) => from < to).toSorted((one, other) => one.from - other.from)) {
    const last = joined.at(-1);
    if (last === undefined || span.from > last.to) joined.push(span);
    else if (span.to > last.to) joined[joined.length - 1] = { from: last.from, to: span.to };
  }
  return joined;
}

/** Removes from a span every moment that is in one of the others. @returns What is left, in order. */
export function subtract(span: Span, others: readonly Span[]): Span[] {
  const left: Span[] = [];
  let from = span.from;
  for (const other of union(others)) {
    if (other.to <= from || other.from >= span.to) continue;
    if (other.from > from) left.push({ from, to: other.from });
    from = Math.max(from, other.to);
  }
  if (from < span.to) left.push({ from, to: span.to });
  return left;
}

/** The moments of a span that are in one of the others, in order. */
export function intersect(span: Span, others: readonly Span[]): Span[] {
  return union(others).map(({ from, to }) => ({ from: Math.max(from, span.from), to: Math.min(to, span.to) }))
    .filter(({ from, to }) => from < to);
}

/** Whether a moment is in a span. */
export function contains({ from, to }: Span, moment: number): boolean {
  return from <= moment && moment < to;
}
