/**
 * Reads a list of objects' metadata in the API server's binary encoding, Protocol Buffers: beside thousands of Nodes,
 * it takes the API server a third of the time of JSON, and this process a fraction of the memory. It makes no calls.
 *
 * A list that was cut off must not look like a shorter one, so each part must end exactly where its length says.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#kubernetes-protobuf-encoding
 * @module
 */

import { PbfReader } from "pbf";
import { parseJson } from "../lock/json.ts";

const BINARY = "application/vnd.kubernetes.protobuf";
const AS_LIST = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/**
 * The media types that ask for such a list: the binary encoding, JSON from what does not know that, or whole objects.
 */
export const METADATA_LIST = `${BINARY};${AS_LIST},application/json;${AS_LIST},application/json`;

/** What each message in this encoding begins with: "k8s" and a zero. */
const MAGIC = [0x6b, 0x38, 0x73, 0x00];

/** A list as its JSON is, with what is needed of it. */
interface MetadataList {
  apiVersion: string;
  kind: string;
  metadata: { resourceVersion: string; continue: string };
  items: { metadata: { name: string; uid: string; resourceVersion: string } }[];
}

/** The message around an object, of the type `k8s.io.apimachinery.pkg.runtime.Unknown`. */
interface Envelope {
  apiVersion: string;
  kind: string;
  object: Uint8Array;
}

/** Reads a field of a message, with its number. Those that it leaves alone are skipped. */
type ReadField<T> = (field: number, into: T, reader: PbfReader) => void;

/**
 * Parses the answer to a call for {@link METADATA_LIST}.
 *
 * @param contentType The answer's header.
 * @returns The list as its JSON is, with the name, the UID and the version of each object. It is not checked; undefined
 * for what cannot be parsed.
 */
export function parseMetadataList(contentType: string | undefined, bytes: Uint8Array): unknown {
  if (!contentType?.toLowerCase().startsWith(BINARY)) return parseJson(new TextDecoder().decode(bytes));
  if (!MAGIC.every((byte, at) => bytes[at] === byte)) return undefined;
  try {
    const { object, apiVersion, kind } = readWhole(bytes.subarray(MAGIC.length), readEnvelope, {
      apiVersion: "",
      kind: "",
      object: new Uint8Array(),
    });
    const list: MetadataList = { apiVersion, kind, metadata: { resourceVersion: "", continue: "" }, items: [] };
    return readWhole(object, readList, list);
  } catch {
    return undefined;
  }
}

const readEnvelope: ReadField<Envelope> = (field, into, reader) => {
  if (field === 1) readPart(reader, readType, into);
  else if (field === 2) into.object = reader.readBytes();
};

const readType: ReadField<Pick<Envelope, "apiVersion" | "kind">> = (field, into, reader) => {
  if (field === 1) into.apiVersion = reader.readString();
  else if (field === 2) into.kind = reader.readString();
};

const readList: ReadField<MetadataList> = (field, into, reader) => {
  if (field === 1) readPart(reader, readListMeta, into.metadata);
  else if (field === 2) {
    const item = { metadata: { name: "", uid: "", resourceVersion: "" } };
    into.items.push(readPart(reader, readItem, item));
  }
};

const readListMeta: ReadField<MetadataList["metadata"]> = (field, into, reader) => {
  if (field === 2) into.resourceVersion = reader.readString();
  else if (field === 3) into.continue = reader.readString();
};

const readItem: ReadField<MetadataList["items"][number]> = (field, into, reader) => {
  if (field === 1) readPart(reader, readObjectMeta, into.metadata);
};

const readObjectMeta: ReadField<MetadataList["items"][number]["metadata"]> = (field, into, reader) => {
  if (field === 1) into.name = reader.readString();
  else if (field === 5) into.uid = reader.readString();
  else if (field === 6) into.resourceVersion = reader.readString();
};

/** Reads a message that takes all of `bytes`. @throws {RangeError} It does not. */
function readWhole<T>(bytes: Uint8Array, readField: ReadField<T>, into: T): T {
  const reader = new PbfReader(bytes);
  return readUntil(reader, bytes.length, readField, into);
}

/** Reads a message within another one, after its length. @throws {RangeError} Its length is not right. */
function readPart<T>(reader: PbfReader, readField: ReadField<T>, into: T): T {
  return readUntil(reader, reader.readVarint() + reader.pos, readField, into);
}

function readUntil<T>(reader: PbfReader, end: number, readField: ReadField<T>, into: T): T {
  reader.readFields(readField, into, end);
  if (reader.pos !== end) throw new RangeError("a message does not end where its length says");
  return into;
}
