/**
 * Reads a collection in pages, so that only one page of it is in memory at a time. All pages show the collection at one
 * version, which is no older than the call. It knows nothing about the objects.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { parseJson } from "../lock/json.ts";
import { checkPage, isListOf, METADATA, parseResourcePath } from "./answer_check.ts";
import type { KubernetesClient } from "./client.ts";
import { KubernetesError } from "./errors.ts";
import { METADATA_LIST, parseMetadataList } from "./metadata_list.ts";

/** What {@link readPages} reads. */
export interface PagesOptions {
  /** The path of the collection, such as `/api/v1/nodes`. */
  readonly path: string;
  /** How many objects a page has at most. */
  readonly limit: number;
  /** Whether to read only the name, the UID and the version of each object. @default {false} */
  readonly metadataOnly?: boolean;
  /** Whether to end after the first page. @default {false} */
  readonly firstPageOnly?: boolean;
  /** More parameters of the query, such as a field selector. */
  readonly query?: Readonly<Record<string, string>>;
  /** How often to start again where the API server forgets the version between two pages. @default {1} */
  readonly restarts?: number;
  /** When to give up, looked at before each page. @default never */
  readonly deadline?: { readonly clock: Pick<Clock, "monotonic">; readonly at: number };
}

/** What was read. */
export interface Pages<T> {
  /** What `view` made of the objects. */
  readonly items: T[];
  /** The version that the pages show. */
  readonly version: string;
}

/** Which object there is, and in which state, but not what that state is. */
export interface ObjectVersion {
  /** Its name. */
  readonly name: string;
  /** Distinguishes it from an earlier or later object of the same name. */
  readonly uid: string;
  /** The version of its state. */
  readonly resourceVersion: string;
}

/** How many objects' versions are read at a time. What the API server sends with each, and we skip, is 1 to 2 kB. */
const VERSIONS_PER_PAGE = 500;

/**
 * Reads which objects a collection has and the version of each (list), and nothing else of them.
 *
 * @param query More parameters of the query, such as a field selector.
 * @throws What {@link readPages} throws.
 */
export async function readVersions(
  client: Pick<KubernetesClient, "get" | "getBinary">,
  path: string,
  query: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Pages<ObjectVersion>> {
  const options = { path, query, limit: VERSIONS_PER_PAGE, metadataOnly: true };
  return await readPages(client, options, viewVersion, signal);
}

/** Takes the version from an object, or from its metadata alone. */
function viewVersion(object: unknown): ObjectVersion {
  const { name, uid, resourceVersion } = (object as { readonly metadata: ObjectVersion }).metadata;
  return { name, uid, resourceVersion };
}

/**
 * Reads a collection (list). Where the API server forgets the version between two pages, it starts again.
 *
 * @param view Takes from an object, as it is in the JSON, what the caller needs; undefined leaves it out.
 * @throws {UnavailableError} The version was forgotten again and again, or the deadline has passed.
 * @throws {KubernetesError} The API server refused the call.
 * @throws What `client.get` throws otherwise.
 */
export async function readPages<T>(
  client: Pick<KubernetesClient, "get" | "getBinary">,
  options: PagesOptions,
  view: (object: unknown) => T | undefined,
  signal?: AbortSignal,
): Promise<Pages<T>> {
  for (let restarts = options.restarts ?? 1;; restarts--) {
    try {
      return await readOnce(client, options, view, signal);
    } catch (error) {
      if (restarts === 0 || !(error instanceof ForgottenError)) throw error;
    }
  }
}

/** The version of a list's first page is no longer stored, so that the list cannot be continued (410). */
class ForgottenError extends UnavailableError {
  constructor(cause: KubernetesError) {
    super("the API server forgets the version of a list before its last page", { cause });
  }
}

async function readOnce<T>(
  client: Pick<KubernetesClient, "get" | "getBinary">,
  options: PagesOptions,
  view: (object: unknown) => T | undefined,
  signal?: AbortSignal,
): Promise<Pages<T>> {
  const { path, limit, metadataOnly = false, firstPageOnly = false, query = {}, deadline } = options;
  const resource = parseResourcePath(path);
  if (resource === undefined) throw new TypeError(`Cannot list ${path}: its kind is unknown`);
  const readPage = async (url: string) => {
    if (!metadataOnly) return parseJson((await client.get(url, signal)).text);
    const { headers, bytes } = await client.getBinary(url, signal, { accept: METADATA_LIST });
    return parseMetadataList(headers["content-type"], bytes);
  };
  const items: T[] = [];
  let version: string | undefined;
  let next: string | undefined;
  do {
    if (deadline && deadline.clock.monotonic() >= deadline.at) throw new UnavailableError("a list took too long");
    const parameters = new URLSearchParams({
      ...query,
      limit: `${limit}`,
      ...(next !== undefined && { continue: next }),
    });
    const answer = await readPage(`${path}?${parameters}`).catch((error) => {
      const isLater = next !== undefined && error instanceof KubernetesError && error.status === 410;
      throw isLater ? new ForgottenError(error) : error;
    });
    // A proxy may not pass on the header that asks for metadata alone. Whole objects have it too.
    const isWhole = !metadataOnly || isListOf(resource, answer);
    const page = checkPage(isWhole ? resource : METADATA, answer);
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
