// SPDX-License-Identifier: Apache-2.0
/*
 * The modules that need no page, each on its own. The body of a function that test_dashboard.py runs
 * inside the browser: it calls its last argument with a list of what is wrong.
 */
const done = arguments[arguments.length - 1];
const wrong = [];

function same(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) wrong.push(`${what}: ${a}, not ${b}`);
}

async function sse() {
  const { SseParser } = await import("/assets/lib/sse.js");
  const text = "\ufeff:hello\r\nid: 7\nevent: a\rdata: one\r\ndata:two\n\nid\ndata\r\n\r\nevent: x\n\n" +
    "nonsense: 1\ndata: {\"a\": \"\u00e4\"}\nid: 8\n\n";
  const wanted = [{ id: "7", type: "a", data: "one\ntwo" }, { id: "", type: "message", data: "" },
    { id: "8", type: "message", data: "{\"a\": \"\u00e4\"}" }];
  for (let cut = 0; cut <= text.length; cut++) {
    const parser = new SseParser();
    same([...parser.feed(text.slice(0, cut)), ...parser.feed(text.slice(cut))], wanted, `cut at ${cut}`);
  }
  const single = new SseParser();
  same([...text].flatMap((c) => single.feed(c)), wanted, "one by one");
  same(new SseParser().feed("data: not ended\n"), [], "no blank line");
  let thrown = false;
  try {
    const parser = new SseParser();
    for (let i = 0; i < 20; i++) parser.feed(`data: ${"x".repeat(1 << 20)}\n`);
  } catch {
    thrown = true;
  }
  same(thrown, true, "an endless event is given up");
}

/* A tab that is hidden asks now and then, and opens a stream when it is seen again. */
async function feed() {
  const { Feed } = await import("/assets/lib/feed.js");
  const opened = [];
  const states = [];
  const api = {
    get: async () => ({ data: { data: [{ seq: 8, type: "a", data: {} }], has_more: false } }),
    fetch: (path, options) => {
      opened.push(options.headers["Last-Event-ID"]);
      return new Promise((_, reject) => options.signal.addEventListener("abort", () => reject(new Error("end"))));
    },
  };
  const hide = (hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  const seen = [];
  hide(true);
  await new Promise((resolve) => {
    const listener = new Feed(api, "/x", 7, { event: (e) => seen.push(e.seq), poll: async () => {}, refused() {},
      state: (state) => {
        states.push(state);
        resolve(listener);
      } });
    listener.start();
  }).then(async (listener) => {
    same([opened, seen, states], [[], [8], ["idle"]], "while it is hidden");
    await new Promise((resolve) => setTimeout(resolve));
    hide(false);
    await new Promise((resolve) => setTimeout(resolve));
    same(opened, ["8"], "a stream when it is seen again");
    listener.stop();
  });
  delete document.hidden;
}

async function units() {
  const u = await import("/assets/lib/units.js");
  same([0, 1, 999, 1000, 9999, 999999, 1e9, 5e15, NaN, null].map(u.bytes),
    ["0 B", "1 B", "999 B", "1.00 kB", "10.0 kB", "1.00 MB", "1.00 GB", "5.00 PB", "–", "–"], "bytes");
  same([0, 9.94, 9.96, 59.4, 60, 3599.6, 7620, 90000, -1, Infinity].map(u.seconds),
    ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "1 h 00 min", "2 h 07 min", "1 d 1 h", "–", "–"], "seconds");
  same([u.change(103, 100), u.change(97, 100), u.change(99.9999, 100), u.change(1, 0), u.change(1, null)],
    ["+3.00 %", "−3.00 %", "0.00 %", "–", "–"], "change");
  same([12.5, 1234.567, undefined].map(u.perplexity), ["12.5000", "1234.6", "–"], "perplexity");
  same([0, 0.00282149, 0.00000031].map(u.error), ["0", "0.00282", "3.1e-7"], "error");
  same(u.count(65536), "65\u202f536", "count");
  const now = Date.parse("2026-01-10T12:00:00Z");
  same(["2026-01-10T11:59:50Z", "2026-01-10T11:55:00Z", "2026-01-10T02:00:00Z", "2026-01-07T12:00:00Z", "x"]
    .map((t) => u.ago(t, now)), ["just now", "5 min ago", "10 h ago", "3 d ago", "–"], "ago");
}

async function router() {
  const { format, ids, parse } = await import("/assets/lib/router.js");
  same(parse(""), { page: "jobs", id: null, query: {} }, "no hash");
  same(parse("#/jobs/12?with=3,4&x=a%26b"), { page: "job", id: "12", query: { with: "3,4", x: "a&b" } }, "a job");
  for (const hash of ["#/jobs/0", "#/jobs/1x", "#/jobs/-1", "#/nothing", "#/jobs/12345678901234567890"])
    same(parse(hash).page, null, hash);
  same(parse("#/groups/7?sort=-bits"), { page: "group", id: "7", query: { sort: "-bits" } }, "a group");
  same([parse("#/groups").page, parse("#/groups/x").page], ["groups", null], "all groups");
  same([format("group", 7), format("groups"), format("jobs", null, { group: 7 })],
    ["#/groups/7", "#/groups", "#/?group=7"], "addresses of groups");
  same(format("job", 12, { with: "3,4", empty: "" }), "#/jobs/12?with=3,4", "format");
  const text = "50 % & = ä #?";
  same(parse(format("jobs", null, { text })).query.text, text, "any text survives");
  same(ids("3,3,x,04,-1, 5,7", 2), ["3", "7"], "ids");
}

async function schema() {
  const s = await import("/assets/lib/schema.js");
  const documents = await (await fetch("/openapi.json")).json();
  const groups = s.groupsOf(documents);
  const names = groups.flatMap((g) => g.fields.map((f) => f.name)).sort();
  const { properties } = documents.components.schemas.JobRequest;
  const current = Object.keys(properties).filter((name) => !properties[name].deprecated);
  same(names, current.sort(), "every field once, none in an older spelling");
  const fields = Object.fromEntries(groups.flatMap((g) => g.fields).map((f) => [f.name, f.schema]));
  for (const [name, f] of Object.entries(fields)) {
    if (!f.description) wrong.push(`${name} has no help`);
    const { value, problem } = s.fromText(f, s.toText(f, f.default), false);
    if (problem || !s.isDefault(f, value))
      wrong.push(`the default of ${name} comes back as ${JSON.stringify(value)} ${problem}`);
  }
  same(s.fromText(fields.nsamples, "0", false).problem, "must be at least 1", "too small");
  same(s.fromText(fields.nsamples, "1.5", false).problem, "'1.5' is not a whole number", "not whole");
  same(s.fromText(fields.percdamp, "0", false).problem, "must be above 0", "on the border");
  same(s.fromText(fields.model, " ", true).problem, "is required", "required");
  same(s.fromText(fields.eval, "a, b,", false), { value: ["a", "b"] }, "a list");
  same(s.fromText(fields.rules, "self_attn:wbits=8,sym=yes\n {\"layers\": \"0\", \"wbits\": 4}\n", false),
    { value: ["self_attn:wbits=8,sym=yes", { layers: "0", wbits: 4 }] }, "elements with commas, and objects");
  same(s.fromText(fields.rules, "{", false).problem, "'{' is not JSON", "no object");
  same(s.fromText(fields.for, s.toText(fields.for, null), false), { value: undefined }, "a choice of none");
  same(s.fromText(fields.labels, "a=b=c\n d = e ", false), { value: { a: "b=c", d: "e" } }, "pairs");
  same(s.presetOf(fields.preset, "best").refine, 3, "what a preset stands for");
  same(s.presetOf(fields.preset, "other"), {}, "no preset");
  same(s.isDefault(fields.refine, 3, 3), true, "what the preset has need not be sent");
  same(s.isDefault(fields.refine, 0, 3), false, "the default beside a preset is sent");
  same(s.presetValues(fields.preset, "fast").drift, undefined, "a field of other presets");
  same(s.presetValues(fields.preset, "fast").grid, "hessian", "a field of this one");
  same(s.belongsTo(fields.wbits, "eval"), false, "an eval job has no bits");
  same(s.belongsTo(fields.model, "eval"), true, "it has a model");
}

async function layers() {
  const { Layers, edges, step, worstOf } = await import("/assets/lib/layers.js");
  const matrix = (name, tokens, error, reason) =>
    ({ name: `model.layers.1.${name}_proj`, method: "gptq", tokens, error, reason });
  const all = new Layers();
  all.setModel({ layers: 2, hidden_size: 800, intermediate_size: 800 });
  all.add({ layer: 1, seconds: 1, matrices: [
    matrix("self_attn.q", 900, 0.1), matrix("mlp.experts.0.gate", 900, 0.2),
    matrix("mlp.experts.0.up", 900, 0.3), matrix("mlp.experts.0.down", 900, 0.05),
    matrix("mlp.experts.1.gate", 3, 0.4, "too few"), matrix("mlp.experts.1.up", 3, 0.4),
    matrix("mlp.experts.1.down", 3, 0.6)] });
  all.add({ layer: 99999999, matrices: [] });
  all.add(null);
  const [layer] = all.list;
  same([all.list.length, all.nExperts, all.places.length], [1, 2, 2], "sizes");
  same(layer.experts.map((e) => [e.tokens, e.few, e.reason, e.worst.error]),
    [[900, false, null, 0.3], [3, true, "too few", 0.6]], "experts");
  all.setModel({ layers: 2, hidden_size: 800, intermediate_size: 1000 });
  same(layer.experts.map((e) => e.few), [true, true], "few for one matrix of it");
  same([all.depth("q"), all.depth("gate")].map((d) => d[0].value.toFixed(3)), ["0.100", "0.300"], "depth");
  same(all.depth("gate", "worst")[0].value, 0.4, "worst over experts");
  const scale = edges([1, 10, 100, 1000], 3);
  same([1, 9, 11, 1000].map((v) => step(scale, v)), [0, 0, 1, 2], "logarithmic steps");
  const strays = edges([1e-9, 1e-9, ...Array.from({ length: 98 }, (_, i) => 2 + i), 1e9, 1e9], 4);
  same([strays[0], strays[4], step(strays, 1e-9), step(strays, 1e9)], [2, 99, 0, 3], "strays share the last steps");
  same(edges([5, 5], 2), [5, 5, 5], "one value");
  same(edges([NaN], 2), null, "none");
  same(all.hasErrors, true, "errors were measured");
  const plain = new Layers();
  plain.add({ layer: 0, matrices: [matrix("self_attn.q", null, null), matrix("mlp.experts.0.up", null, null)] });
  same(worstOf({ matrices: [matrix("self_attn.q", null, null)] }), null, "what was not measured is not the worst");
  same([plain.hasErrors, plain.hasTokens], [false, false], "a method without calibration measures nothing");
}

async function job() {
  const j = await import("/assets/lib/job.js");
  const user = { owner: "user", role: "submit" };
  const admin = { owner: "x", role: "admin" };
  same([j.refusal(user, "submit", { owner: "user" }), j.refusal(admin, "submit", { owner: "user" })],
    [null, null], "one's own, and an admin's");
  same(typeof j.refusal(user, "submit", { owner: "other" }), "string", "another owner");
  same(typeof j.refusal({ owner: "user", role: "read" }, "submit", { owner: "user" }), "string", "the role read");
  same(j.fraction({ status: "queued", progress: { phase: "pull", bytes: 1, bytes_total: 4 } }), 0.25, "a pull");
  same([0, 0.25].map((fraction) => j.fraction({ status: "queued", progress: { phase: "load", fraction } })),
    [null, 0.25], "a queued job has no bar, unless it was interrupted");
  same(j.fraction({ status: "succeeded", progress: { phase: "export", fraction: 1 } }), null, "an end");
  same(j.method({ params: { wbits: 3, method: "rtn", grid: "mse", groupsize: 64, sym: true } }),
    "rtn 3 bit g64 sym mse", "method");
  const engine = { name: "slurm", id: 7, state: "PENDING", reason: "Priority", node: "", starts_at: null };
  same(j.standing({ status: "running", engine }), "waits in slurm (Priority)", "a job that waits on a cluster");
  same(j.standing({ status: "running", engine: { ...engine, starts_at: "2026-11-28T14:02:11.000Z" } })
    .startsWith("waits in slurm (Priority), expected to start at "), true, "its expected start");
  same(j.standing({ status: "running", engine: { ...engine, state: "RUNNING", node: "n3" },
    progress: { phase: "quantize", layer: 3, layers_total: 16 } }), "quantize, layer 4 of 16 on n3", "its node");
}

async function devices() {
  const { Devices } = await import("/assets/parts/devices.js");
  const device = { id: "cuda:0", name: "GPU", memory_total: 4e6, memory_free: 1e6, utilization: 0.93, job: 3 };
  const api = { get: async () => ({ data: { data: [device, { ...device, id: "cuda:1", job: 4 }] } }) };
  const shown = new Devices(api, 3);
  shown.start();
  await new Promise((resolve) => setTimeout(resolve));
  same([...shown.node.querySelectorAll(".figure")].map((n) => n.textContent),
    ["3.00 MB of 4.00 MB", "93 %"], "a device");
  Object.assign(device, { utilization: null, memory_free: 4e6 });
  shown.start();
  await new Promise((resolve) => setTimeout(resolve));
  same([...shown.node.querySelectorAll(".gauge")].map((n) => n.hidden), [false, true],
    "what is not known is not shown");
  shown.stop();
}

/* Events that keep coming do not put the work off, and it never runs twice at a time. */
async function soon() {
  const { Soon } = await import("/assets/lib/soon.js");
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  let runs = 0;
  let running = 0;
  const asked = new Soon(async () => {
    runs++;
    if (++running > 1) wrong.push("the work ran twice at a time");
    await wait(30);
    running--;
    throw new Error("no answer");
  }, 20);
  const began = performance.now();
  for (let i = 0; i < 40; i++) {
    asked.ask();
    await wait(10);
  }
  const most = (performance.now() - began) / 50 + 1; // it takes 30 ms, and gathers events for as long
  same(runs >= 3 && runs <= most, true, `the work runs while events come: ${runs} of ${most}`);
  await wait(150);
  const before = runs;
  asked.ask();
  asked.stop();
  await wait(60);
  same(runs, before, "it was stopped");
}

/* Texts at points that lie on each other are apart, or left out. */
async function labels() {
  const { placeOf } = await import("/assets/charts/placement.js");
  const area = { left: 0, right: 300, top: 0, bottom: 200 };
  const taken = [];
  const places = Array.from({ length: 12 }, () => placeOf({ x: 150, y: 100 }, 20, area, taken)).filter(Boolean);
  same(places.length, taken.length, "each text that is drawn has its room");
  same(places.length >= 4 && places.length < 12, true, `some find room: ${places.length}`);
  const apart = (a, b) => a === b || a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  same(taken.every((a) => taken.every((b) => apart(a, b))), true, "no text covers another");
}

async function columns() {
  const c = await import("/assets/comparison/columns.js");
  const usual = { method: "gptq", act_order: false, wbits: 4, eval: ["a,b"] };
  const make = (id, value, bits, params) => ({ id, name: `job ${id}`, owner: "user", status: "succeeded", labels: {},
    params: { ...usual, ...params }, result: { bits_per_weight: bits, baseline: { "a,b": 10 },
      perplexity: { "a,b": { value, stderr: value / 40 } } } });
  const jobs = [make(1, 11, 4, {}), make(2, 10.5, 5, { act_order: true }), make(3, 12, 5, { wbits: 3 }),
    { id: 4, status: "failed", owner: "user", params: usual }];
  const all = c.columnsOf(jobs);
  const by = (key) => all.find((column) => column.key === key);
  same(all.some((column) => column.key.startsWith("labels:") || column.key === "size"), false,
    "columns that say nothing");
  same(c.usual(jobs, all).map((column) => column.key),
    ["perplexity:a,b", "bits", "params:act_order", "params:wbits", "status"], "figures, and what differs");
  const order = (key, down) => c.sorted(jobs, by(key), down).map((job) => job.id);
  same([order("perplexity:a,b", false), order("perplexity:a,b", true), order("bits", true)],
    [[2, 1, 3, 4], [3, 1, 2, 4], [2, 3, 1, 4]], "sorted, what has no value last");
  const change = (job, base) => c.changeOf(by("perplexity:a,b"), job, base);
  const first = change(jobs[0], null);
  same([first.share.toFixed(3), first.error.toFixed(4), first.most],
    ["0.100", (1.1 * Math.hypot(1 / 40, 1 / 40)).toFixed(4), true], "the change from the unquantized model");
  const paired = { ...jobs[0], result: { ...jobs[0].result, difference: { "a,b": { log_ratio_stderr: 0.001 } } } };
  same([change(paired, null).error.toFixed(5), change(paired, null).most], ["0.00110", false],
    "an error of pairs of tokens, where there is one");
  same([change(jobs[0], jobs[1]).share.toFixed(4), change(jobs[1], jobs[1]), change(jobs[3], null)],
    ["0.0476", null, null], "the change from another job, from itself, and of a job that failed");
  const compared = make(7, 11, 4, {});
  compared.result.difference = { "a,b": { kl_mean: 0.05, kl_stderr: 0.001, same_top: 0.9, log_ratio_stderr: 0.002 } };
  const exact = change(compared, null), both = c.columnsOf([compared]);
  same([exact.error.toFixed(4), exact.most], ["0.0022", false], "the change of tokens that were compared");
  same(both.filter((column) => column.set).map((column) => c.textOf(column, compared)),
    ["11.0000", "0.0500", "90.00 %"], "the divergence, and the same token");
  const more = [...jobs, make(5, 10.5, 6, {}), make(6, 13, 3.9, {})];
  same(c.front(more, by("bits"), by("perplexity:a,b")).map((job) => job.id), [6, 1, 2],
    "the front: what equals one of it in one figure and is worse in the other is not on it");
  same(c.rowsOf(jobs.slice(0, 1), [by("perplexity:a,b"), by("params:act_order")], null)[1].map((v) =>
    (typeof v === "number" ? Number(v.toFixed(3)) : v)), [1, "job 1", 11, 0.275, 0.1, 0.039, "no"],
  "a row for a program");
  const { csv } = await import("/assets/lib/csv.js");
  same(csv([["a,b", "say \"x\"", "=1+1", -1.5, null, "two\nlines", NaN]]),
    "\"a,b\",\"say \"\"x\"\"\",'=1+1,-1.5,,\"two\nlines\",\r\n", "csv");
}

async function comparisonState() {
  const { readState, writeState } = await import("/assets/comparison/state.js");
  const { format, parse } = await import("/assets/lib/router.js");
  const again = (state) => readState(parse(format("compare", null, writeState(state))).query);
  const plain = readState({ jobs: "3,1,3,x" });
  same(plain.jobs, ["3", "1"], "jobs");
  const full = { jobs: null, filter: { label: "sweep=a,b &c", owner: "user" },
    columns: ["perplexity:file:a,b.txt", "labels:50 %"], sort: { key: "labels:-x", down: true }, base: "7",
    plots: [{ x: "size", y: "bits", colour: "labels:a=b", log: { x: true, y: false } },
      { x: null, y: "kl_mean:c4", colour: null, log: { x: null, y: null } }], heat: ["3", "4"],
    shows: "gate" };
  same([again(plain), again(full)], [plain, full], "a link shows the same");
  const neither = { ...plain.plots[1], log: { x: false, y: false } };
  same(again({ ...plain, plots: [plain.plots[0], neither] }).plots[1], neither, "no axis is logarithmic");
  same(readState({ columns: "%E0%A4%A", base: "<b>", heat: "1,2,3", log: "q" }), { ...readState({}),
    columns: ["%E0%A4%A"], heat: ["1", "2"],
    plots: [{ ...plain.plots[0], log: { x: false, y: false } }, plain.plots[1]] }, "a hostile link");
}

async function lists() {
  const { countOf, mayVary, valuesOf } = await import("/assets/lib/lists.js");
  const { properties } = (await (await fetch("/openapi.json")).json()).components.schemas.JobRequest;
  const read = (name, text) => valuesOf(properties[name], text);
  same(read("wbits", " 3,4 ,, 8"), { values: [3, 4, 8] }, "numbers of a choice");
  same(read("act_order", "yes, No"), { values: [true, false] }, "switches");
  same(read("grid", "mse,minmax"), { values: ["mse", "minmax"] }, "names");
  same(read("groupsize", ""), { values: [] }, "none");
  for (const [name, text, word] of [["wbits", "3,5", "is none of 2, 3, 4, 8, 16"], ["wbits", "3,3", "twice"],
    ["groupsize", "32,x", "not a number"], ["act_order", "maybe", "not yes or no"], ["nsamples", "0", "at least 1"]])
    same(read(name, text).problem?.includes(word), true, `${name} ${text}: ${read(name, text).problem}`);
  same(["wbits", "seed", "dataset", "model", "name", "eval", "rules", "priority"]
    .filter((name) => mayVary(name, properties[name], "quantize")), ["wbits", "seed", "dataset"], "what may vary");
  same([countOf({}), countOf({ a: [1, 2], b: [1, 2, 3] })], [1, 6], "combinations");
  const { countsText, shareOf, valuesText } = await import("/assets/parts/members.js");
  const counts = { queued: 1, running: 1, cancelling: 0, succeeded: 2, failed: 0, cancelled: 0 };
  same([countsText(counts), shareOf(counts, [0.5, null]), shareOf({ ...counts, queued: 0, running: 0 })],
    ["2 succeeded, 1 running, 1 queued", 0.625, 1], "how far a group is");
  same(valuesText({ wbits: 3, act_order: true, dataset: null, eval: ["a", "b"], rules: ["a:wbits=8"] }),
    "wbits 3, act_order yes, dataset none, eval a, b, rules a:wbits=8", "what differs");
}

async function values() {
  const { ruleText, rulesOptions, valueText } = await import("/assets/lib/values.js");
  const rules = [{ modules: ["self_attn", "down_proj"], wbits: 8 },
    { layers: "0-3,15", experts: "2", modules: "down_proj", wbits: 4, groupsize: 64, sym: true },
    { layers: "1", method: "rtn" }];
  same(rules.map(ruleText), ["self_attn,down_proj:wbits=8",
    "layers=0-3,15/experts=2/down_proj:wbits=4,groupsize=64,sym=true", "layers=1:method=rtn"], "rules");
  same(rulesOptions(3, rules.slice(0, 1)), "--wbits 3 --rule 'self_attn,down_proj:wbits=8'", "options");
  same([null, "", [], false, 0, 2.5, "x", [1, "a"], rules.slice(2), { a: 1 }].map((one) => valueText(one)),
    ["none", "none", "none", "no", "0", "2.5", "x", "1, a", "layers=1:method=rtn", '{"a":1}'], "values");
  same([valueText(undefined, "–"), valueText([], "–"), valueText(null, null)], ["–", "none", null], "nothing");
}

async function ticks() {
  const { scaleOf } = await import("/assets/lib/ticks.js");
  same(scaleOf([2, 5], false).ticks, [2, 2.5, 3, 3.5, 4, 4.5, 5], "round numbers");
  same(scaleOf([0.003, 40], true).ticks, [0.01, 0.1, 1, 10], "powers of ten when there are many");
  same(scaleOf([0.03, 4], true).ticks, [0.05, 0.1, 0.2, 0.5, 1, 2, 5], "1, 2 and 5 of them else");
  const cases = [[[1, 1], false], [[0, 0], false], [[7], true], [[-3, 1e9], false], [[1e-9, 1e9], true]];
  for (const [values, log] of cases) {
    const scale = scaleOf(values, log);
    const places = values.map(scale.place);
    same(places.every((p) => p > 0 && p < 1) && scale.ticks.length > 0 && scale.ticks.length < 25, true,
      `a scale of ${values}: ${places}, ${scale.ticks.length} ticks`);
  }
}

const checks = [columns, comparisonState, lists, values, ticks,
  soon, labels, devices, feed, sse, units, router, schema, layers, job];
Promise.all(checks.map((check) => check()))
  .then(() => done(wrong), (error) => done([...wrong, String(error.stack || error)]));
