import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { makeCertificate } from "./testing/certificate.ts";

// The programs in examples/net, run as they are: on the package as it is built.

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "emptcp-net-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function run(example: string, ...args: string[]): Promise<string[]> {
  if (!existsSync(join(root, "dist/net/index.js")))
    throw new Error("Cannot run the examples: dist/ is missing; npm run build makes it");
  const program = join(root, "examples/net", example);
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args], { timeout: 30_000 });
  return stdout.trim().split("\n");
}

test("echo.mjs sends and tells of its subflow", async () => {
  expect(await run("echo.mjs")).toEqual([
    "hello came back; MPTCP offered, in use",
    "subflow from 127.0.0.1 to 127.0.0.1, port as asked",
  ]);
});

test("http.mjs asks twice by MPTCP", async () => {
  expect(await run("http.mjs")).toEqual(["request 1 by MPTCP", "request 2 by MPTCP"]);
});

test("https.mjs asks by TLS over MPTCP", async () => {
  const { key, cert } = makeCertificate();
  const files = { key: join(scratch, "key.pem"), cert: join(scratch, "cert.pem") };
  writeFileSync(files.key, key, { mode: 0o600 });
  writeFileSync(files.cert, cert);
  expect(await run("https.mjs", files.key, files.cert)).toEqual(["TLSv1.3 by MPTCP"]);
});
