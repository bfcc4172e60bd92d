// Helpers to build and update elements. Everything that comes from the server is set as text, never as markup. Elements
// are kept by key, so that focus, scroll position and open parts stay.

/** Finds an element by its id. */
export const $ = (id) => document.getElementById(id);

/** Makes an element. A child is an element or a text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute, or removes it where the value is undefined. */
export function setAttribute(element, name, value) {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** Shows one child for each item, and keeps the children whose keys stay. */
export function list(parent, items, keyOf, build, update) {
  const before = parent.keyed ?? new Map();
  const after = new Map();
  let next = parent.firstElementChild;
  for (const item of items) {
    let key = keyOf(item);
    while (after.has(key)) key += "'";
    let row = before.get(key);
    if (row === undefined) row = build(item);
    else before.delete(key);
    after.set(key, row);
    const element = row.element ?? row;
    if (element === next) next = next.nextElementSibling;
    // Where the browser can, the element keeps its focus.
    else if (element.isConnected && parent.moveBefore) parent.moveBefore(element, next);
    else parent.insertBefore(element, next);
    update(row, item);
  }
  for (const row of before.values()) (row.element ?? row).remove();
  parent.keyed = after;
}
