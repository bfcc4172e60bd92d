/**
 * Which methods of the client library's generated APIs the program calls, of 276. The bundle leaves the others out,
 * which makes it half as large and saves 2 MB of memory. The types of the APIs ({@link "./client.ts".Apis}) have no
 * others either, so the type checker refuses a call to a method that is left out.
 *
 * @module
 */

/** The names of the methods, by API. */
export const CALLED_METHODS = {
  coordination: ["createNamespacedLease", "listNamespacedLease", "readNamespacedLease", "replaceNamespacedLease"],
  authorization: ["createSelfSubjectAccessReview"],
  core: [
    "createNamespacedPodEviction",
    "deleteNamespacedPod",
    "listPodForAllNamespaces",
    "patchNode",
    "readNamespacedPersistentVolumeClaim",
    "readNode",
  ],
  events: ["createNamespacedEvent", "patchNamespacedEvent"],
  storage: ["listVolumeAttachment", "readVolumeAttachment"],
} as const;

/** The names of an API's methods that the program calls. */
export type CalledMethod<Api extends keyof typeof CALLED_METHODS> = (typeof CALLED_METHODS)[Api][number];
