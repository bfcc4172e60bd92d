/**
 * What this process remembers of one hold's drain, over several runs of it. Nothing that a yes rests on depends on what
 * another replica remembers: whatever is forgotten only makes a drain evict once more.
 *
 * @module
 */

/** The memory of one hold. */
export class DrainMemory {
  /** See {@link "../../lock/yes.ts".NodeEvidence.exhausted}. */
  readonly exhausted: Map<string, number> = new Map();
}
