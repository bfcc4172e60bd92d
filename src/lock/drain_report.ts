/**
 * How drains are counted: the words that the node keeper and the metrics share.
 *
 * @module
 */

/**
 * How a drain ended: the node is empty or gone; the time-out passed and the reboot goes on; it passed and the reboot
 * is refused; the hold ended first; this process ended first; or a fault stopped the drain.
 */
export type DrainResult = "drained" | "proceeded" | "failed" | "abandoned" | "interrupted" | "error";
