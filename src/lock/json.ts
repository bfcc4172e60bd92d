/**
 * Reads JSON that somebody else wrote.
 *
 * @module
 */

/** Parses a text. Returns undefined for what is not JSON, since an error of the parser would quote it. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
