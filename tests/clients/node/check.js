// How a client in JavaScript tells the suite `clients` of its checks: one JSON object a line, as `tests/src/clients/report.rs`
// reads them. Words on the command line select checks by parts of their names, or leave them out when they
// begin with a dash.
'use strict';

const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n');

// Makes all checks that the command line asks for, one after the other.
async function run(checks) {
  const words = process.argv.slice(2);
  const wanted = words.filter((word) => !word.startsWith('-'));
  const leftOut = words.filter((word) => word.startsWith('-')).map((word) => word.slice(1));
  for (const [name, check] of Object.entries(checks)) {
    if (wanted.length && !wanted.some((word) => name.includes(word))) continue;
    if (leftOut.some((word) => name.includes(word))) continue;
    tell({ begin: name });
    try {
      await check();
      tell({ ok: name });
    } catch (error) {
      tell({ failed: name, why: (error && error.stack) || String(error) });
    }
  }
  tell({ done: true });
}

module.exports = { run };
