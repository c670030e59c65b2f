// TypeScript is CommonJS, 9 MB of it: `import` would first search all of it for names to export, longer than it takes to load.
import { createRequire } from "node:module";

export default createRequire(import.meta.url)("typescript6");
