/**
 * Requests as Zincati sends them.
 *
 * @module
 */

/** A reply: its status and its body, parsed where it is JSON. */
export interface Reply {
  readonly status: number;
  readonly text: string;
  /** `kind` of an error; undefined for a success. */
  readonly kind?: string;
  /** `value` of an error; undefined for a success. */
  readonly value?: string;
}

/** Asks for a slot. */
export function preReboot(url: string, id: string, group = "default", signal?: AbortSignal): Promise<Reply> {
  return post(`${url}/v1/pre-reboot`, id, group, signal);
}

/** Gives a slot back. */
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
