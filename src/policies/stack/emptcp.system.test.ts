import { expect, test } from "vitest";
import { policyFile, sourceReader } from "../../chain/sources.ts";
import { compileInStack } from "../../compiler/index.ts";
import { createStructOps, loadCollection } from "../../linux/index.ts";
import { bases } from "../../policy/index.ts";
import { emptcp } from "./emptcp.ts";

/** The kernel gives up at a million. */
const mostFollowed = 200_000;

test.each(bases)("the kernel takes the executor on %s, with room to spare for the verifier", (base) => {
  const name = `emx_${process.pid}`;
  const { programs, maps, structOps } = compileInStack(
    { name, policy: emptcp, file: policyFile(emptcp), base },
    sourceReader,
  );
  const collection = loadCollection({ programs, maps });
  try {
    using _map = createStructOps(structOps, collection.programs);
    const followed = Object.values(collection.programs).map((program) => program.info().verifiedInstructions);
    expect(Math.max(...followed)).toBeLessThan(mostFollowed);
  } finally {
    collection.close();
  }
});
