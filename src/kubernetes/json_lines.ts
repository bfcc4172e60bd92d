/**
 * Splits a stream of bytes into lines of JSON, the format of a watch.
 *
 * @module
 */

/** The longest line accepted, in bytes. The API server stores at most 1.5 MiB of one object. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/**
 * Reads a stream of newline-separated JSON values. Drops an unfinished last line.
 *
 * @param onBytes Called whenever bytes arrive, even less than a line.
 * @throws {Error} A line is too long.
 * @throws {SyntaxError} A line is not JSON.
 */
export async function* readJsonLines(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void = () => {},
  maxLineBytes: number = MAX_LINE_BYTES,
): AsyncGenerator<unknown> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    onBytes();
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const line = join([...parts, chunk.subarray(start, end)]);
      start = end + 1;
      parts = [];
      length = 0;
      if (line.length > maxLineBytes) throw tooLong(maxLineBytes);
      const text = decoder.decode(line).trim();
      if (text !== "") yield JSON.parse(text);
    }
    const rest = chunk.subarray(start);
    length += rest.length;
    if (length > maxLineBytes) throw tooLong(maxLineBytes);
    if (rest.length > 0) parts.push(rest);
  }
}

function tooLong(maxLineBytes: number): Error {
  return new Error(`a line of the stream is longer than ${maxLineBytes} bytes`);
}

function join(parts: Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
