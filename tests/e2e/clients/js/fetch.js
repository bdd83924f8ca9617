// Fetches one target with tuf-js as it is published: METADATA_URL TARGETS_URL ROOT FOLDER TARGET.
// Prints the path of the verified file; exit code 1 and the reason when anything does not hold.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { Updater } = require("tuf-js");

async function main([metadataBaseUrl, targetBaseUrl, root, folder, target]) {
  const metadataDir = path.join(folder, "metadata");
  const targetDir = path.join(folder, "targets");
  fs.mkdirSync(metadataDir, { recursive: true });
  fs.mkdirSync(targetDir, { recursive: true });
  if (!fs.existsSync(path.join(metadataDir, "root.json"))) {
    fs.copyFileSync(root, path.join(metadataDir, "root.json"));
  }
  const updater = new Updater({ metadataDir, metadataBaseUrl, targetDir, targetBaseUrl });
  await updater.refresh();
  const info = await updater.getTargetInfo(target);
  if (info === undefined) {
    throw new Error(`no metadata list ${target}`);
  }
  console.log(await updater.downloadTarget(info));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
});
