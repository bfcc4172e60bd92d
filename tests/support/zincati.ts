/**
 * Sends the requests that Zincati sends.
 *
 * @module
 */

/** A reply: its status and its body, which is parsed if it is an error. */
export interface Reply {
  readonly status: number;
  readonly text: string;
  /** The `kind` of an error; undefined for a success. */
  readonly kind?: string;
  /** The `value` of an error; undefined for a success. */
  readonly value?: string;
}

/** Sends pre-reboot, which asks for a slot. */
export function preReboot(url: string, id: string, group = "default", signal?: AbortSignal): Promise<Reply> {
  return post(`${url}/v1/pre-reboot`, id, group, signal);
}

/** Sends steady-state, which releases a slot. */
export function steadyState(url: string, id: string, group = "default", signal?: AbortSignal): Promise<Reply> {
  return post(`${url}/v1/steady-state`, id, group, signal);
}

async function post(url: string, id: string, group: string, signal?: AbortSignal): Promise<Reply> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "fleet-lock-protocol": "true" },
    body: JSON.stringify({ client_params: { id, group } }, null, 2),
    redirect: "manual",
    signal,
  });
  const text = (await response.text()).trimEnd();
  if (response.ok) return { status: response.status, text };
  const { kind, value } = JSON.parse(text);
  return { status: response.status, text, kind, value };
}
