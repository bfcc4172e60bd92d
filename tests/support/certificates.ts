/**
 * Client certificates, made with the machine's openssl.
 *
 * @module
 */

/** Flags that make an unencrypted key. */
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** Creates an authority: `client-ca.crt` and `client-ca.key` in the folder. */
export async function createClientAuthority(folder: string): Promise<void> {
  const files = ["-keyout", `${folder}/client-ca.key`, "-out", `${folder}/client-ca.crt`];
  await openssl("req", "-x509", ...KEY, ...files, "-days", "2", "-subj", "/CN=client-ca");
}

/**
 * Creates a certificate that the folder's authority signs.
 *
 * @param name The user's name.
 * @param group The user's group.
 * @returns The certificate and its key, PEM.
 */
export async function signClientCertificate(
  folder: string,
  name: string,
  group: string,
): Promise<{ cert: string; key: string }> {
  const base = `${folder}/${crypto.randomUUID()}`;
  await openssl(
    "req",
    "-new",
    ...KEY,
    "-keyout",
    `${base}.key`,
    "-subj",
    `/O=${group}/CN=${name}`,
    "-out",
    `${base}.csr`,
  );
  // An extension makes it an X.509 v3 certificate. rustls refuses older versions.
  await Deno.writeTextFile(`${base}.ext`, "extendedKeyUsage=clientAuth\n");
  const authority = ["-CA", `${folder}/client-ca.crt`, "-CAkey", `${folder}/client-ca.key`, "-CAcreateserial"];
  const files = ["-in", `${base}.csr`, "-extfile", `${base}.ext`, "-out", `${base}.crt`];
  await openssl("x509", "-req", ...authority, ...files, "-days", "2");
  return { cert: await Deno.readTextFile(`${base}.crt`), key: await Deno.readTextFile(`${base}.key`) };
}

async function openssl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args, stdout: "null", stderr: "piped" }).output();
  if (!success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
