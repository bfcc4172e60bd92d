/**
 * The times of objects of the Kubernetes API.
 *
 * @module
 */

/**
 * Formats a time as the API's MicroTime: RFC 3339 in UTC with six digits of a
 * second. The client library's own class of that name adds nothing to this.
 *
 * @param ms Milliseconds since the epoch.
 * @see https://kubernetes.io/docs/reference/kubernetes-api/definitions/micro-time-v1-meta/
 */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

/**
 * Reads a time of an object. The client library types times as dates, and leaves some of them strings.
 *
 * @returns Milliseconds since the epoch; undefined where there is no time, or none that can be understood.
 */
export function timeOf(time: unknown): number | undefined {
  const ms = time instanceof Date ? time.getTime() : typeof time === "string" ? Date.parse(time) : NaN;
  return Number.isFinite(ms) ? ms : undefined;
}
