/**
 * The form of a check's result, and how checks are run: one after the other, each
 * told at once. It knows no check.
 *
 * @module
 */

/** What a check is about. */
export type Category =
  | "configuration"
  | "cluster"
  | "permissions"
  | "locks"
  | "nodes"
  | "workloads"
  | "address"
  | "server";

/** The result of one check. */
export interface Check {
  /** What it is about. */
  readonly category: Category;
  /** What was checked, such as "the Leases can be read". */
  readonly name: string;
  /** `skipped` where it could not be checked. */
  readonly status: "ok" | "warning" | "failed" | "skipped";
  /** What was found, one line. */
  readonly detail?: string;
  /** What to do about it. */
  readonly hint?: string;
}

/** The result of one check of a {@link CheckPart}, whose category it takes. */
export type CheckResult = Omit<Check, "category">;

/** A part of the checks. Its faults are results too. */
export interface CheckPart {
  /** What its checks are about. */
  readonly category: Category;
  /** What it checks, for the result of a part that fails. */
  readonly name: string;
  /** What to do where it cannot be run. */
  readonly hint?: string;
  /** Why the parts after it are skipped where it cannot be run; they run all the same where this is undefined. */
  readonly otherwise?: string;
  /** Runs its checks. What it throws becomes a result. */
  run(): Promise<CheckResult[]>;
}

/**
 * Runs all parts in order.
 *
 * @param tell Is told each result at once.
 * @returns All results.
 * @throws The signal's reason, when it aborts.
 */
export async function runChecks(
  parts: readonly CheckPart[],
  tell: (check: Check) => void,
  signal?: AbortSignal,
): Promise<Check[]> {
  const results: Check[] = [];
  let obstacle: string | undefined;
  for (const part of parts) {
    const { found, hasRun } = obstacle === undefined
      ? await runPart(part, signal)
      : { found: [skipped(part, obstacle)], hasRun: true };
    if (!hasRun) obstacle = part.otherwise;
    for (const result of found) {
      const check = { category: part.category, ...result };
      results.push(check);
      tell(check);
    }
  }
  return results;
}

async function runPart(
  { name, hint, run }: CheckPart,
  signal?: AbortSignal,
): Promise<{ readonly found: CheckResult[]; readonly hasRun: boolean }> {
  try {
    return { found: await run(), hasRun: true };
  } catch (error) {
    signal?.throwIfAborted();
    const detail = error instanceof Error ? error.message : String(error);
    return { found: [{ name, status: "failed", detail, ...(hint !== undefined && { hint }) }], hasRun: false };
  }
}

function skipped({ name }: Pick<CheckPart, "name">, detail: string): CheckResult {
  return { name, status: "skipped", detail };
}

/** Names a few of many, for a result's line. */
export function someOf(names: readonly string[], most = 5): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(", ")} and ${more} more` : names.join(", ");
}

/** Counts things in words, such as `1 group` or `2 groups`. */
export function countOf(number: number, one: string): string {
  return `${number} ${one}${number === 1 ? "" : "s"}`;
}
