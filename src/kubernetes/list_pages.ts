/**
 * Reads a collection in pages, so that only one page of it is in memory at a time. All pages show the collection at one
 * version, which is no older than the call. It knows nothing about the objects.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";
import { checkPage, METADATA, parseJson, parseResourcePath } from "./answer_check.ts";
import type { KubernetesClient } from "./client.ts";
import { KubernetesError } from "./errors.ts";

/** What {@link readPages} reads. */
export interface PagesOptions {
  /** The path of the collection, such as `/api/v1/nodes`. */
  readonly path: string;
  /** How many objects a page has at most. */
  readonly limit: number;
  /** Whether to read only the objects' metadata. @default {false} */
  readonly metadataOnly?: boolean;
  /** Whether to end after the first page. @default {false} */
  readonly firstPageOnly?: boolean;
  /** More parameters of the query, such as a field selector. */
  readonly query?: Readonly<Record<string, string>>;
}

/** What was read. */
export interface Pages<T> {
  /** What `view` made of the objects. */
  readonly items: T[];
  /** The version that the pages show. */
  readonly version: string;
}

/** The media type that asks for the metadata of a list's objects alone. */
const METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/**
 * Reads a collection (list). Where the API server forgets the version between two pages, it starts again once.
 *
 * @param view Takes from an object, as it is in the JSON, what the caller needs; undefined leaves it out.
 * @throws {KubernetesError} The API server refused the call.
 * @throws What `client.get` throws otherwise.
 */
export async function readPages<T>(
  client: Pick<KubernetesClient, "get">,
  options: PagesOptions,
  view: (object: unknown) => T | undefined,
  signal?: AbortSignal,
): Promise<Pages<T>> {
  try {
    return await readOnce(client, options, view, signal);
  } catch (error) {
    if (!(error instanceof ForgottenError)) throw error;
    return await readOnce(client, options, view, signal);
  }
}

/** The version of a list's first page is no longer stored, so that the list cannot be continued (410). */
class ForgottenError extends UnavailableError {
  constructor(cause: KubernetesError) {
    super("the API server forgets the version of a list before its last page", { cause });
  }
}

async function readOnce<T>(
  client: Pick<KubernetesClient, "get">,
  options: PagesOptions,
  view: (object: unknown) => T | undefined,
  signal?: AbortSignal,
): Promise<Pages<T>> {
  const { path, limit, metadataOnly = false, firstPageOnly = false, query = {} } = options;
  const checked = metadataOnly ? METADATA : parseResourcePath(path);
  if (checked === undefined) throw new TypeError(`Cannot list ${path}: its kind is unknown`);
  const headers = metadataOnly ? { accept: METADATA_ONLY } : undefined;
  const items: T[] = [];
  let version: string | undefined;
  let next: string | undefined;
  do {
    const parameters = new URLSearchParams({
      ...query,
      limit: `${limit}`,
      ...(next !== undefined && { continue: next }),
    });
    const { text } = await client.get(`${path}?${parameters}`, signal, headers).catch((error) => {
      const isLater = next !== undefined && error instanceof KubernetesError && error.status === 410;
      throw isLater ? new ForgottenError(error) : error;
    });
    const page = checkPage(checked, parseJson(text));
    version ??= page.version;
    // Objects that move from one page's version to another's could be missed.
    if (page.version !== version) throw new UnavailableError("the pages of a list are not of one version");
    for (const object of page.items) {
      const item = view(object);
      if (item !== undefined) items.push(item);
    }
    next = page.next;
  } while (next !== undefined && !firstPageOnly);
  return { items, version };
}
