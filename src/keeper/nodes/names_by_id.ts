/**
 * Which Nodes have an id. Nearly every id has one Node, and there are thousands, so it keeps a set of names only where
 * there are several: a set for each id would take megabytes.
 *
 * @module
 */

/** See the module. */
export class NamesById {
  readonly #names = new Map<string, string | Set<string>>();

  /** Returns the names of the Nodes with an id. */
  get(id: string): string[] {
    const names = this.#names.get(id) ?? [];
    return typeof names === "string" ? [names] : [...names];
  }

  /** Notes that a Node has an id. */
  add(id: string, name: string): void {
    const names = this.#names.get(id);
    if (names === undefined) this.#names.set(id, name);
    else if (typeof names === "string") this.#names.set(id, new Set([names, name]));
    else names.add(name);
  }

  /** Notes that a Node does not have an id. */
  delete(id: string, name: string): void {
    const names = this.#names.get(id);
    if (names === name) this.#names.delete(id);
    if (!(names instanceof Set)) return;
    names.delete(name);
    if (names.size === 0) this.#names.delete(id);
  }
}
