/**
 * Metrics of the process: the usual ones as far as Deno provides them, and what
 * runs in it.
 *
 * @module
 */

import process from "node:process";
import type { Counter } from "prom-client";
import type { MetricRegistry } from "./prometheus_metrics.ts";

/**
 * Makes the metrics of the process.
 *
 * @param version The program's version, such as `0.1.0`.
 */
export function addProcessMetrics(registry: MetricRegistry, version: string): void {
  registry.gauge("fleetlock_build_info", "Always 1; the labels name the versions", ["version", "deno"])
    .set({ version, deno: Deno.version.deno }, 1);
  const memory = registry.gauge("process_resident_memory_bytes", "Resident memory", [], () => {
    const { rss, heapTotal, heapUsed } = Deno.memoryUsage();
    memory.set(rss);
    heap.set(heapTotal);
    heapInUse.set(heapUsed);
  });
  const heap = registry.gauge("fleetlock_heap_size_bytes", "Size of the JavaScript heap");
  const heapInUse = registry.gauge("fleetlock_heap_used_bytes", "Part of the JavaScript heap that is in use");
  let counted = 0;
  const cpu: Counter<never> = registry.counter("process_cpu_seconds_total", "CPU time, user and system", [], () => {
    const { user, system } = process.cpuUsage();
    const seconds = (user + system) / 1e6;
    cpu.inc(Math.max(0, seconds - counted));
    counted = Math.max(counted, seconds);
  });
  registry.gauge("process_start_time_seconds", "Start time of the process, in seconds since the epoch")
    .set(performance.timeOrigin / 1000);
  let open = countOpenFiles();
  if (open === undefined) return;
  const files = registry.gauge("process_open_fds", "Number of open file descriptors", [], () => {
    // If the process has no file descriptor left to count them with, the last count is the best estimate.
    files.set(open = countOpenFiles() ?? open!);
  });
}

/**
 * Counts the process's open files.
 *
 * @returns undefined if they cannot be counted: for /proc, Deno requires all permissions, not just the one to read it.
 */
function countOpenFiles(): number | undefined {
  try {
    // One of them is the folder itself, open for reading.
    return [...Deno.readDirSync("/proc/self/fd")].length - 1;
  } catch {
    return undefined;
  }
}
