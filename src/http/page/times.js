// Times as people read them, by the server's clock.

import { make, setText } from "./elements.js";

/** The server's time minus this page's monotonic time. */
let offset = Date.now() - performance.now();
/** The server's time, in milliseconds since the epoch. */
export const now = () => offset + performance.now();

/** Notes the server's time, RFC 3339. */
export function setClock(at) {
  offset = Date.parse(at) - performance.now();
}

export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const FORMS = {
  age: (ms) => duration(now() - ms),
  ago: (ms) => `${duration(now() - ms)} ago`,
  until: (ms) => ms <= now() ? "now" : `in ${duration(ms - now())}, ${dateOf(ms)}`,
};

export function dateOf(ms) {
  const soon = Math.abs(ms - now()) < 20 * 3_600_000;
  const day = soon ? {} : { weekday: "short", day: "numeric", month: "short" };
  return new Date(ms).toLocaleString(undefined, { ...day, hour: "numeric", minute: "2-digit" });
}

/** Makes an element with a time, which the clock below keeps right. */
export function time(form) {
  const element = make("time", { class: "num" });
  element.form = FORMS[form];
  return element;
}

export function setTime(element, text) {
  if (element.dateTime !== text) {
    element.dateTime = text;
    element.title = new Date(text).toLocaleString();
    element.ms = Date.parse(text);
  }
  setText(element, element.form(element.ms));
}
