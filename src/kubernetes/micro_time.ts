/**
 * The time format that Leases and Events use.
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
