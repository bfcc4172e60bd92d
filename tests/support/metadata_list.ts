/**
 * Writes lists of metadata in the API server's binary encoding, for fakes and models of it.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#kubernetes-protobuf-encoding
 * @module
 */

import { PbfWriter } from "pbf";

/** A list of metadata as its JSON is. */
export interface MetadataListJson {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly { readonly metadata: Record<string, unknown> }[] | null;
}

const BINARY = "application/vnd.kubernetes.protobuf";

/** Whether a call asks for lists of metadata in the binary encoding before all others. */
export function wantsBinaryList(accept: string | null | undefined): boolean {
  return accept?.startsWith(`${BINARY};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,`) === true;
}

/** Makes the answer with a list, as the API server gives it. */
export function binaryList(list: MetadataListJson, headers: Record<string, string> = {}): Response {
  return new Response(encodeMetadataList(list), { headers: { ...headers, "content-type": BINARY } });
}

/** Encodes a list, with parts that its reader has no use for, as the API server writes them. */
export function encodeMetadataList({ apiVersion, kind, metadata, items }: MetadataListJson): Uint8Array<ArrayBuffer> {
  const list = write((pbf) => {
    part(pbf, 1, (meta) => {
      meta.writeStringField(1, "");
      meta.writeStringField(2, metadata.resourceVersion ?? "");
      meta.writeStringField(3, metadata.continue ?? "");
      meta.writeVarintField(4, 300);
    });
    for (const { metadata: one } of items ?? []) part(pbf, 2, (item) => part(item, 1, (meta) => writeMeta(meta, one)));
  });
  const envelope = write((pbf) => {
    part(pbf, 1, (type) => {
      type.writeStringField(1, apiVersion);
      type.writeStringField(2, kind);
    });
    pbf.writeBytesField(2, list);
    pbf.writeStringField(3, "");
    pbf.writeStringField(4, "");
  });
  return new Uint8Array([0x6b, 0x38, 0x73, 0, ...envelope]);
}

function writeMeta(pbf: PbfWriter, metadata: Record<string, unknown>): void {
  pbf.writeStringField(1, `${metadata.name ?? ""}`);
  pbf.writeStringField(2, "");
  pbf.writeStringField(3, `${metadata.namespace ?? ""}`);
  pbf.writeStringField(4, "");
  pbf.writeStringField(5, `${metadata.uid ?? ""}`);
  pbf.writeStringField(6, `${metadata.resourceVersion ?? ""}`);
  pbf.writeVarintField(7, 0);
  part(pbf, 8, (time) => time.writeVarintField(1, 1_893_456_000));
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    part(pbf, 11, (label) => {
      label.writeStringField(1, key);
      label.writeStringField(2, `${value}`);
    });
  }
  part(pbf, 17, (managed) => {
    managed.writeStringField(1, "kubelet");
    part(managed, 7, (fields) => fields.writeStringField(1, `{"f:metadata":{"f:name":"${"x".repeat(200)}"}}`));
  });
}

function part(pbf: PbfWriter, field: number, content: (pbf: PbfWriter) => void): void {
  pbf.writeBytesField(field, write(content));
}

function write(content: (pbf: PbfWriter) => void): Uint8Array {
  const pbf = new PbfWriter();
  content(pbf);
  return pbf.finish();
}
