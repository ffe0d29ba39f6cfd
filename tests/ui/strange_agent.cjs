// An agent in JavaScript, with the protocol's TypeScript SDK: node strange_agent.cjs ADDRESS TEXT, says what it found as JSON.
// NODE_PATH is a folder node_modules with @modelcontextprotocol/sdk, which brings Ajv along.
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const Ajv = require("ajv").default, Ajv2020 = require("ajv/dist/2020.js").default;

const SMALL = { steps: 8, hidden_size: 8, num_layers: 1, seq_len: 10, batch_size: 4, eval_every: 4 };

/** What a strict validator has against the schemas of the tools. */
function complaints(tools) {
  const found = [];
  for (const Validator of [Ajv, Ajv2020]) {
    for (const tool of tools) {
      for (const schema of [tool.inputSchema, tool.outputSchema]) {
        try {
          new Validator({ strict: true, strictTypes: true, strictRequired: true, strictTuples: true }).compile(schema);
        } catch (error) {
          found.push(`${tool.name}: ${error.message}`);
        }
      }
    }
  }
  return found;
}

async function main(address, text) {
  const client = new Client({ name: "strange", version: "1" });
  const transport = new StreamableHTTPClientTransport(new URL(address));
  await client.connect(transport);
  const { tools } = await client.listTools(); // with their schemas the client checks each answer
  const notices = [];
  const ask = async (name, args, options) => (await client.callTool({ name, arguments: args }, undefined, options));
  const begun = await ask(
    "train", { file: { text, name: "pets.txt" }, arch: "gru", options: SMALL, wait_seconds: 600 },
    { onprogress: (notice) => notices.push(notice), timeout: 600_000 },
  );
  const run_id = begun.structuredContent.run_id;
  const written = await Promise.all([1, 2, 3, 4].map((seed) => ask("generate", { run_id, length: 40, options: { seed } })));
  const compared = await ask("compare", { run_ids: [run_id], length: 10 });
  const exported = await ask("export", { run_id });
  const file = await (await fetch(exported.structuredContent.url)).arrayBuffer();
  const cancel = new AbortController();
  const long = ask("generate", { run_id, length: 100_000 }, {
    signal: cancel.signal, timeout: 600_000, onprogress: (notice) => { if (notice.progress) cancel.abort("enough"); },
  });
  const cancelled = await long.then(() => "", (error) => error.message);
  const refused = await ask("status", { run_id: "nope" });
  const session = transport.sessionId;
  await transport.terminateSession();
  await client.close();
  return {
    tools: tools.map((tool) => tool.name), complaints: complaints(tools), status: begun.structuredContent.status, notices,
    lengths: written.map((one) => one.structuredContent.result.length), compared: compared.structuredContent[run_id].length,
    bytes: file.byteLength, size: exported.structuredContent.size, cancelled, refused: refused.content[0].text, session,
  };
}

main(...process.argv.slice(2)).then((found) => console.log(JSON.stringify(found)));
