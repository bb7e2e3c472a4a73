"use strict";
// The status page: asks for status.json every 2 s and patches what has changed. All text comes in as text nodes, never
// as markup, and nodes are kept by key, so that focus, open details and a reader's place outlive an update.

const POLL_MS = 2000,
  PATIENCE_MS = 10000,
  STALE_MS = 7000,
  DAY_MS = 86400000,
  LANES = 24,
  KEPT = 30,
  WORST = 5,
  JOBS = "50";
const MINE = "http://www.w3.org/2000/svg";

// State: word, tone, shape. In order of severity.
const STATES = {
  stuck: ["Stuck", "bad", "M-3.5-5.5H3.5L-3.5 5.5H3.5Z"],
  overdue: ["Overdue", "bad", "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0-5 0M0-3V.5L2 2"],
  failing: ["Failing", "bad", "M-3.5-4.5L3.5 4.5M3.5-4.5L-3.5 4.5"],
  parked: ["Parked", "bad", "M-2.5 5.5V-5.5H0A3 3 0 0 1 0 .5H-2.5"],
  busy_too_long: ["Busy too long", "odd", "M-2.5-5.5H2.5V5.5H-2.5Z"],
  stopped: ["Stopped", "bad", "M-4-4H4V4H-4Z"],
  paused: ["Paused", "calm", "M-2.5-4.5V4.5M2.5-4.5V4.5"],
  ended: ["Ended", "calm", "M-4-4.5L2 0L-4 4.5M4-4.5V4.5"],
  ok: ["OK", "good", "M-4.5 .5L-1.5 3.5L4.5-3.5"],
};
// Outcome: word, tone, shape, filled. From the gravest to the mildest; shapes are those of a simulated timeline.
const OUTCOMES = {
  TimedOut: ["Timed out", "bad", "M-3.5-6H3.5L-3.5 6H3.5Z", true],
  Failed: ["Failed", "bad", "M-3-5L3 5M3-5L-3 5"],
  LeaseLost: ["Lease lost", "bad", "M-2-6L2 6"],
  Missed: ["Missed", "odd", "M0-6V1M0 4.5V6"],
  Interrupted: ["Interrupted", "odd", "M-2 6L2-6"],
  Skipped: ["Skipped", "odd", "M0-5L3 0L0 5L-3 0Z"],
  Busy: ["Busy", "good", "M-2.5-6H2.5V6H-2.5Z"],
  Succeeded: ["Succeeded", "good", "M-2.5-6H2.5V6H-2.5Z", true],
  Taken: ["Taken", "calm", "M-2 0A2 2 0 1 0 2 0A2 2 0 1 0-2 0Z", true],
};
const GRAVITY = Object.keys(OUTCOMES);
const SCHEDULER = {
  running: ["Running", "good"],
  stopping: ["Stopping", "odd"],
  stopped: ["Stopped", "bad"],
  disabled: ["Disabled", "calm"],
  silent: ["Silent", "bad"],
};
const REASONS = {schedule: "schedule", catch_up: "catch-up", start: "at start", manual: "by hand"};
const known = (table, key, fallback) => (Object.hasOwn(table, key) ? table[key] : fallback);
const stateOf = (state) => known(STATES, state, [String(state), "odd", "M-4 0H4"]);
const outcomeOf = (outcome) => known(OUTCOMES, outcome, [String(outcome), "odd", "M-4 0H4"]);

// ---- Nodes

const $ = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

function draw(tag, attributes, ...children) {
  return dress(document.createElementNS(MINE, tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

function give(node, name, value) {
  if (value === null || value === "") node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Make the children of `parent` those of `items`, each kept by its key; `create` makes a node, `update` fills it. */
function patch(parent, items, keyOf, create, update) {
  const before = parent.byKey ?? new Map(),
    after = new Map();
  for (const item of items) {
    let key = String(keyOf(item));
    while (after.has(key)) key += "'";
    const node = before.get(key) ?? create(item);
    update?.(node, item);
    after.set(key, node);
  }
  for (const [key, node] of before) if (!after.has(key)) node.remove();
  parent.byKey = after;
  // From the end. What holds the focus stays where it is, and the others move around it: a node that moves loses it.
  const nodes = [...after.values()];
  const still = nodes.find((node) => node.contains(document.activeElement));
  nodes.reduceRight((next, node) => {
    if (node !== still && (node.parentNode !== parent || node.nextSibling !== next)) parent.insertBefore(node, next);
    return node;
  }, null);
}

function mark([, tone, shape, full], width = 14) {
  return draw(
    "svg",
    {class: "mark", "data-tone": tone, viewBox: "-6 -8 12 16", width, height: (width * 4) / 3, "aria-hidden": "true"},
    draw("path", full ? {d: shape, class: "full"} : {d: shape}),
  );
}

const pill = (entry, text) => make("span", {class: "pill", "data-tone": entry[1]}, mark(entry, 11), text ?? entry[0]);

// ---- Words

function span(ms) {
  const seconds = Math.abs(ms) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10 && seconds % 1 >= 0.05) return `${seconds.toFixed(1)} s`;
  return whole(ms);
}

function whole(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const at = units.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = units[at],
    [small, smaller] = units[at + 1] ?? [];
  const rest = small ? Math.floor((seconds % size) / small) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

const seconds = (number) => (number === null ? "" : span(number * 1000));
const ago = (iso) => `${whole(now() - Date.parse(iso))} ago`;
const utc = (iso) => iso.slice(0, 19).replace("T", " ");
const many = (number, one, more = `${one}s`) => `${number} ${number === 1 ? one : more}`;
const joined = (...parts) => parts.filter(Boolean).join(" · ");

const formats = new Map();

/** Return the format of a zone, and the name of the zone that it is really in: not every browser knows every zone. */
function format(zone) {
  if (!formats.has(zone)) {
    const options = {
      weekday: "short",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
    };
    let name = zone,
      made;
    try {
      made = new Intl.DateTimeFormat("en-GB", {...options, timeZone: zone});
    } catch {
      name = "UTC";
      made = new Intl.DateTimeFormat("en-GB", {...options, timeZone: "UTC"});
    }
    const text = (ms) => {
      const part = Object.fromEntries(made.formatToParts(ms).map(({type, value}) => [type, value]));
      return `${part.weekday} ${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second}`;
    };
    formats.set(zone, {name, text});
  }
  return formats.get(zone);
}

const local = (iso, zone) => format(zone).text(Date.parse(iso));

/** An instant of the last days, of which the day of the week is enough. */
function recent(iso, zone) {
  const text = local(iso, zone);
  return now() - Date.parse(iso) < 6 * DAY_MS ? text.replace(/ \S+ /, " ") : text;
}

function slots(entry, zone) {
  return entry.first ? `${local(entry.first, zone)} to ${local(entry.slot, zone)}` : local(entry.slot, zone);
}

function told(entry, zone) {
  const number = entry.count === 1 ? "" : entry.count === null ? "many slots" : many(entry.count, "slot");
  return [outcomeOf(entry.outcome)[0], slots(entry, zone), number, entry.detail].filter(Boolean).join(", ");
}

/** Only a run that its slot brought about can be late: not one by hand, nor the one at the start. */
const hasSlot = (entry) => entry.started && entry.reason !== "manual" && entry.reason !== "start";
const lateness = (entry) => (hasSlot(entry) && entry.late_seconds > 0 ? seconds(entry.late_seconds) : "");

// ---- What is shown

const query = new URLSearchParams(location.search);
const asked = {q: query.get("q") ?? "", offset: 0, limit: query.get("limit") ?? JOBS};
const states = new Map();
let shown = null,
  ahead = 0,
  frozen = false,
  allLanes = false,
  jobsMade = 0;

/** The server's clock: a browser's own may be wrong. */
const now = () => Date.now() + ahead;

function announce(text) {
  say($("said"), text);
}

function show(doc) {
  const first = shown === null;
  shown = doc;
  ahead = Date.parse(doc.at) - Date.now();
  showHeadline(doc);
  patch($("jobs"), ordered(doc.jobs), (job) => job.name, createJob, updateJob);
  showWorst(doc);
  const jobs = many(doc.total, "job");
  $("none").hidden = doc.jobs.length > 0;
  say($("none"), asked.q ? `No job's name holds “${asked.q}”.` : "No job is registered.");
  $("pages").hidden = doc.total <= doc.limit;
  say($("place"), `${doc.offset + 1} to ${doc.offset + doc.jobs.length} of ${jobs}`);
  give($("previous"), "aria-disabled", String(doc.offset === 0));
  give($("following"), "aria-disabled", String(doc.offset + doc.limit >= doc.total));
  showTimeline(doc);
  announceChanges(doc, first);
  beat();
  if (!doc.jobs.length && doc.total) turn({offset: 0}); // so many jobs are no longer there
}

/** The server's order, worst first; but no button may move away from under a pointer that is about to press it. */
function ordered(jobs) {
  if (!$("jobs").querySelector("button:hover")) return jobs;
  const places = new Map([...$("jobs").children].map((node, index) => [node.job.name, index]));
  return jobs.toSorted((one, other) => (places.get(one.name) ?? places.size) - (places.get(other.name) ?? places.size));
}

function showHeadline({scheduler, counts}) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const fine = ["ok", "paused", "ended"].reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  const broken = all - fine;
  const said =
    {
      stopped: ["The scheduler does not run", "bad"],
      silent: ["The scheduler's loop is silent", "bad"],
      stopping: ["The scheduler is stopping", "odd"],
      disabled: ["The scheduler is disabled here", "calm"],
    }[scheduler.state] ??
    (broken
      ? [`${broken} of ${many(all, "job")} ${broken === 1 ? "is" : "are"} broken`, "bad"]
      : scheduler.ledger.reachable
        ? ["Nothing is broken", "good"]
        : ["The ledger does not answer", "bad"]);
  say($("answer"), said[0]);
  give($("headline"), "data-tone", said[1]);
  const because = joined(
    scheduler.why,
    !scheduler.ledger.reachable && `The ledger does not answer: ${scheduler.ledger.why}`,
  );
  $("because").hidden = !because;
  say($("because"), because);
  const present = Object.keys({...STATES, ...counts}).filter((state) => counts[state]);
  patch(
    $("counts"),
    present,
    String,
    (state) => make("li", null, pill(stateOf(state), "")),
    (node, state) =>
      say(
        node.firstChild.lastChild,
        `${counts[state]} ${stateOf(state)[0].replace(/^[A-Z](?=[a-z])/, (c) => c.toLowerCase())}`,
      ),
  );
  document.title = `${broken || said[1] === "bad" ? "✕" : "✓"} ${said[0]} · loopcron`;
  showIcon(said[1]);
}

function showWorst({jobs}) {
  const worst = jobs.filter((job) => ["bad", "odd"].includes(stateOf(job.state)[1]));
  patch(
    $("worst"),
    worst.slice(0, WORST),
    (job) => job.name,
    (job) => make("li", null, make("a", null, job.name), make("span", {class: "sub"})),
    (item, job) => {
      give(item.firstChild, "href", `#${$("jobs").byKey.get(job.name).parts.title.id}`);
      say(
        item.lastChild,
        job.why +
          (worst.length > WORST && job === worst[WORST - 1] ? `, and ${many(worst.length - WORST, "more job")}` : ""),
      );
    },
  );
  $("worst").hidden = !worst.length;
}

function showIcon(tone) {
  const colour = {good: "15735f", bad: "bb2d24", odd: "855700", calm: "59636e"}[tone];
  const inside = tone === "bad" ? "M5 5l6 6m0-6l-6 6" : tone === "good" ? "M4 8.5l3 3 5-6" : "M4 8h8";
  give(
    document.querySelector("link[rel=icon]"),
    "href",
    "data:image/svg+xml," +
      encodeURIComponent(
        `<svg xmlns="${MINE}" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#${colour}"/>` +
          `<path d="${inside}" stroke="#fff" stroke-width="2" fill="none" stroke-linecap="round"/></svg>`,
      ),
  );
}

function fact(list, rows) {
  patch(
    list,
    rows,
    (row) => row[0],
    ([name]) =>
      make(
        "div",
        null,
        make("dt", null, name),
        make("dd", null, make("span", {class: "main"}), make("span", {class: "sub"})),
      ),
    (node, [, main, sub, tone]) => {
      const [strong, small] = node.lastChild.children;
      say(strong, main);
      say(small, sub ?? "");
      give(strong, "data-tone", tone ?? null);
    },
  );
}

function showScheduler({scheduler}) {
  const {ledger, loop, clock, observers, workers} = scheduler;
  const [word, tone] = known(SCHEDULER, scheduler.state, [scheduler.state, "odd"]);
  const off = observers.filter((one) => one.disabled),
    dropped = observers.reduce((sum, one) => sum + one.dropped, 0);
  const trouble = observers
    .filter((one) => one.disabled || one.problem || one.dropped)
    .map(
      (one) =>
        `${one.name}: ${joined(one.disabled && "disabled", one.dropped && `${one.dropped} dropped`, one.problem)}`,
    );
  fact($("scheduler"), [
    ["State", word, scheduler.since ? `since ${utc(scheduler.since)} UTC` : "", tone === "good" ? null : tone],
    [
      "Answered by",
      scheduler.worker,
      workers.length > 1
        ? `one of ${workers.length} workers; others: ${workers.slice(1).join(", ")}`
        : "the only worker seen",
    ],
    [
      "Uptime",
      scheduler.started ? whole(now() - Date.parse(scheduler.started)) : "not started",
      scheduler.started ? `since ${utc(scheduler.started)} UTC` : "",
    ],
    [
      "Ledger",
      ledger.text,
      ledger.reachable
        ? joined("answers", ledger.shared ? "shared by workers" : "this process only")
        : joined("does not answer", ledger.since && `since ${utc(ledger.since)} UTC`, many(ledger.failures, "failure")),
      ledger.reachable ? null : "bad",
    ],
    [
      "Loop wakes late by",
      seconds(loop.lag_seconds) || "unknown",
      joined(
        `worst ${seconds(loop.worst_lag_seconds) || "unknown"}`,
        loop.silent_seconds !== null && `last tick ${whole(loop.silent_seconds * 1000)} ago`,
      ),
    ],
    [
      "Clock",
      clock.steps ? many(clock.steps, "step") : "no steps",
      clock.steps
        ? `the last one by ${clock.stepped_seconds} s${clock.stepped_at ? `, ${ago(clock.stepped_at)}` : ""}`
        : "",
    ],
    [
      "Observers",
      off.length
        ? `${off.length} of ${observers.length} disabled`
        : dropped
          ? `${dropped} events dropped`
          : `${observers.length}, none disabled`,
      trouble.join("; "),
      off.length || dropped ? "odd" : null,
    ],
  ]);
}

// ---- One job

function createJob(job) {
  const id = `job-${++jobsMade}`,
    part = {};
  const note = (name, node) => (part[name] = node);
  const cell = (name, title) => make("div", null, make("dt", null, title), note(name, make("dd")));
  const said = (parent, ...classes) => classes.map((each) => parent.appendChild(make("span", {class: each})));
  const node = make(
    "li",
    {class: "job"},
    make(
      "article",
      {"aria-labelledby": id},
      make(
        "div",
        {class: "grid4"},
        make(
          "div",
          null,
          note("title", make("h3", {id}, job.name)),
          note("state", make("span")),
          note("schedule", make("div")),
        ),
        make(
          "dl",
          {class: "cells"},
          cell("next", "Next run"),
          cell("last", "Last outcome"),
          cell("recent", `Last ${KEPT}`),
        ),
      ),
      note("why", make("p", {class: "why"}, make("span"), make("span", {class: "sub"}))),
      note("running", make("ul", {class: "running", role: "list", "aria-label": "Running now"})),
      note("said", make("p", {class: "said", hidden: ""})),
      make(
        "div",
        {class: "foot"},
        note("actions", make("div", {class: "actions", role: "group", "aria-label": `Actions on ${job.name}`})),
        note(
          "details",
          make(
            "details",
            null,
            make("summary", null, "History and upcoming", make("span", {class: "unseen"}, ` of ${job.name}`)),
          ),
        ),
      ),
    ),
  );
  part.schedule.append(make("span", {class: "sub"}), make("span", {class: "sub"}, make("code"), " "));
  said(part.next, "main", "sub", "sub", "sub");
  part.last.append(make("span", {class: "outcome main"}));
  said(part.last, "sub", "sub");
  part.recent.append(note("runs", make("ol", {class: "runs", role: "list"})));
  said(part.recent, "sub", "sub");
  part.details.append(createDetails(part, job));
  // Filled only while open: a table for each of many jobs takes seconds to build.
  part.details.addEventListener("toggle", () => part.details.open && updateDetails(part, node.job));
  for (const [verb, word] of [
    ["run", "Run now"],
    ["pause", "Pause"],
    ["skip", "Skip next"],
  ]) {
    const button = make(
      "button",
      {type: "button"},
      make("span", null, word),
      make("span", {class: "unseen"}, ` ${job.name}`),
    );
    button.addEventListener("click", () => act(node, button));
    part.actions.append(note(verb, button));
    button.verb = verb;
  }
  node.parts = part;
  return node;
}

function createDetails(part, job) {
  const columns = ["Slot", "UTC", "Outcome", "What happened", "Took", "Late", "Attempt", "Reason", "Worker"];
  part.heads = columns.map((column) =>
    make("th", ["Took", "Late", "Attempt"].includes(column) ? {scope: "col", class: "number"} : {scope: "col"}, column),
  );
  return make(
    "div",
    null,
    make(
      "div",
      {class: "more-facts"},
      make("div", null, (part.ahead = make("h4")), (part.upcoming = make("ol", {role: "list"}))),
      make("div", null, make("h4", null, "More"), (part.more = make("dl", {class: "pairs"}))),
    ),
    make(
      "div",
      {class: "scroll", tabindex: "0", role: "region", "aria-label": `History of ${job.name}`},
      make(
        "table",
        null,
        (part.caption = make("caption")),
        make("thead", null, make("tr", null, ...part.heads)),
        (part.history = make("tbody")),
      ),
    ),
  );
}

function updateJob(node, job) {
  const text = JSON.stringify(job) + shown.actions + shown.scheduler.started;
  if (node.text === text) return;
  node.text = text;
  node.job = job;
  const {parts: part} = node,
    {schedule, last} = job,
    zone = schedule.zone,
    state = stateOf(job.state);
  give(node, "data-tone", state[1]);
  if (part.state.is !== job.state) {
    part.state.replaceChildren(pill(state));
    part.state.is = job.state;
  }
  const [words, raw] = part.schedule.children;
  say(words, schedule.words);
  say(raw.firstChild, schedule.text);
  say(raw.lastChild, schedule.text.includes(zone) ? " " : ` ${zone}`);
  part.why.hidden = !job.why || job.state === "ok";
  say(part.why.firstChild, job.why.toLowerCase() === state[0].toLowerCase() ? state[0] : job.why);
  updateLast(part.last, last, zone);
  patch(
    part.runs,
    job.history.slice(-KEPT),
    (entry) => entry.slot + entry.outcome + entry.ended,
    (entry) => createRun(entry, zone),
  );
  give(
    part.runs,
    "aria-label",
    `Last ${many(Math.min(job.history.length, KEPT), "outcome")} of ${job.name}, oldest first`,
  );
  part.runs.hidden = !job.history.length;
  patch(
    part.running,
    job.running,
    (run) => run.key + run.attempt,
    createRunning,
    (item, run) => (item.run = run),
  );
  part.running.hidden = !job.running.length;
  if (part.details.open) updateDetails(part, job);
  part.actions.hidden = !shown.actions;
  part.pause.verb = job.paused ? "resume" : "pause";
  say(part.pause.firstChild, job.paused ? "Resume" : "Pause");
  if (!node.busy) enable(node);
}

function createRun(entry, zone) {
  const text = told(entry, zone);
  return make("li", {title: text}, mark(outcomeOf(entry.outcome), 8), make("span", {class: "unseen"}, text));
}

function createRunning() {
  return make("li", null, make("span"), make("progress", {"aria-label": "Time used of the timeout"}));
}

function updateLast(cell, last, zone) {
  const [outcome, detail] = cell.children;
  const text = last ? last.outcome + last.ended : "";
  if (outcome.is !== text) {
    outcome.replaceChildren(...(last ? [mark(outcomeOf(last.outcome), 11), outcomeOf(last.outcome)[0]] : ["none yet"]));
    outcome.is = text;
  }
  const status = last?.status && !last.detail.includes(last.status) ? `HTTP ${last.status}` : "";
  say(
    detail,
    last
      ? joined(
          status,
          last.detail,
          last.count !== 1 && `${last.count ?? "many"} slots`,
          last.started && seconds(last.duration_seconds),
          hasSlot(last)
            ? lateness(last) && `${lateness(last)} late`
            : last.started && known(REASONS, last.reason, last.reason),
        )
      : "",
  );
}

function updateDetails(part, job) {
  const {zone} = job.schedule,
    {lease, shared_outcome: theirs} = job;
  patch(
    part.upcoming,
    job.upcoming,
    (slot) => slot.slot,
    () => make("li", null, make("span"), make("span", {class: "sub"}), make("span", {class: "flag"})),
    (item, slot) => {
      const skip = job.next?.skipped && job.next.slot === slot.slot;
      say(item.children[0], zone === "UTC" ? `${local(slot.slot, zone)} UTC` : slot.local);
      say(item.children[1], zone === "UTC" ? "" : `${utc(slot.slot)} UTC`);
      say(
        item.children[2],
        joined(skip && "will be skipped, as asked", job.paused && "not while paused", ...slot.marks),
      );
    },
  );
  say(part.ahead, job.upcoming.length ? "Upcoming" : "Upcoming: none");
  const rows = [
    ["Timeout", job.timeout_seconds === null ? "none" : seconds(job.timeout_seconds)],
    [
      "Lease",
      lease
        ? joined(
            lease.ours ? `${lease.worker} (this worker)` : lease.worker,
            `slot ${utc(lease.slot)} UTC`,
            lease.until && `until ${utc(lease.until)} UTC`,
            `fence ${lease.fence}`,
          )
        : "nobody holds it",
    ],
    ["Last started", job.last_started ? `${local(job.last_started, zone)}` : "not by this worker"],
    ["Last success", job.last_succeeded ? `${local(job.last_succeeded, zone)}` : "none known"],
  ];
  if (theirs)
    rows.push([
      "In the ledger",
      joined(theirs.outcome, theirs.worker && `by ${theirs.worker}`, theirs.ended && `ended ${utc(theirs.ended)} UTC`),
    ]);
  patch(
    part.more,
    rows.flatMap(([name, value]) => [
      ["dt", name, name],
      ["dd", name, value],
    ]),
    ([tag, name]) => tag + name,
    ([tag]) => make(tag),
    (item, [, , text]) => say(item, text),
  );
  say(part.heads[0], `Slot, ${format(zone).name}`);
  const oldest = job.history[0];
  const started = shown.scheduler.started ? ` This worker started at ${local(shown.scheduler.started, zone)}.` : "";
  say(
    part.caption,
    (oldest
      ? `The last ${many(job.history.length, "outcome")}, newest first, back to ${slots(oldest, zone)}; the log has older ones.`
      : "This worker knows of no outcome yet.") + started,
  );
  patch(
    part.history,
    job.history.toReversed(),
    (entry) => entry.slot + entry.outcome + entry.ended,
    (entry) => createRow(entry, zone),
  );
}

function createRow(entry, zone) {
  const outcome = outcomeOf(entry.outcome);
  const count = entry.count === 1 ? "" : ` (${entry.count ?? "many"} slots)`;
  const numbers = [
    entry.started ? seconds(entry.duration_seconds) : "",
    lateness(entry),
    entry.started ? String(entry.attempt) : "",
  ];
  return make(
    "tr",
    null,
    make("th", {scope: "row"}, slots(entry, zone) + count),
    make("td", {class: "tight"}, utc(entry.slot).slice(11)),
    make("td", {class: "tight"}, make("span", {class: "outcome"}, mark(outcome, 10), outcome[0])),
    make(
      "td",
      {class: "detail"},
      joined(entry.status && !entry.detail.includes(entry.status) && `HTTP ${entry.status}`, entry.detail),
    ),
    ...numbers.map((number) => make("td", {class: "number"}, number)),
    make("td", {class: "tight"}, entry.started ? known(REASONS, entry.reason, entry.reason) : ""),
    make("td", {class: "tight"}, entry.worker || "this one"),
  );
}

/** Write all that changes by itself from second to second. */
function beatJob(node) {
  const {parts: part, job} = node,
    {next, last} = job,
    zone = job.schedule.zone;
  const [count, wall, universal, notes] = part.next.children;
  const due = next && Date.parse(next.due ?? next.slot) - now();
  say(
    count,
    !next
      ? "none"
      : job.paused
        ? "not while paused"
        : due > 500
          ? `in ${whole(due)}`
          : due > -2000
            ? "now"
            : `due ${whole(due)} ago`,
  );
  say(wall, !next ? "" : zone === "UTC" ? `${local(next.slot, zone)} UTC` : next.local);
  say(universal, next && zone !== "UTC" ? `${utc(next.slot)} UTC` : "");
  const jitter = next?.due ? Date.parse(next.due) - Date.parse(next.slot) : 0;
  say(
    notes,
    next ? joined(next.skipped && "will be skipped, as asked", jitter > 0 && `${span(jitter)} of jitter`) : "",
  );
  say(part.last.lastChild, last ? `${ago(last.ended)} · ${recent(last.slot, zone)}` : "");
  const [, failures, success] = part.recent.children;
  const failed = job.consecutive_failures;
  say(failures, failed ? many(failed, "failure in a row", "failures in a row") : "");
  give(failures, "data-tone", failed ? "bad" : null);
  say(success, job.last_succeeded ? `last success ${ago(job.last_succeeded)}` : "no success known");
  if (!part.why.hidden)
    say(
      part.why.lastChild,
      job.since ? `since ${local(job.since, zone)} (${whole(now() - Date.parse(job.since))})` : "",
    );
  for (const item of part.running.children) beatRunning(item);
}

function beatRunning(item) {
  const {run} = item,
    started = Date.parse(run.started),
    used = Math.max(0, now() - started);
  const limit = run.deadline ? Date.parse(run.deadline) - started : null;
  say(
    item.firstChild,
    joined(
      `Running for ${whole(used)} of ${limit === null ? "no timeout" : whole(limit)}`,
      run.attempt > 1 && `attempt ${run.attempt}`,
      known(REASONS, run.reason, run.reason),
      limit !== null && used > limit && "past its timeout",
    ),
  );
  item.lastChild.hidden = limit === null;
  give(item, "data-tone", limit !== null && used > limit ? "bad" : null);
  give(item.lastChild, "max", String(limit ?? 1));
  give(item.lastChild, "value", String(Math.min(used, limit ?? 1)));
}

// ---- Timeline

function showTimeline(doc) {
  const place = $("timeline"),
    width = place.clientWidth;
  const jobs = doc.jobs.slice(0, allLanes ? undefined : LANES);
  const zones = new Set(jobs.map((job) => job.schedule.zone)),
    zone = zones.size === 1 ? [...zones][0] : "UTC";
  const text = JSON.stringify([
    width,
    zone,
    Math.floor(now() / 60000),
    jobs.map((job) => [job.name, job.history.at(-1), job.next_day, job.running.length]),
  ]);
  $("lanes").hidden = doc.jobs.length <= LANES;
  say($("lanes"), allLanes ? `Show the first ${LANES} jobs only` : `Show all ${doc.jobs.length} jobs`);
  if (!width || place.is === text) return;
  place.is = text;
  const narrow = width < 620,
    left = narrow ? 8 : Math.min(220, width * 0.24),
    right = width - 8,
    row = narrow ? 40 : 26,
    top = 30;
  const start = now() - DAY_MS,
    height = top + jobs.length * row + 6;
  const x = (ms) => left + Math.min(1, Math.max(0, (ms - start) / (2 * DAY_MS))) * (right - left);
  const names = jobs
    .filter((job) => job.history.some((entry) => entry.kind === "failed" && Date.parse(entry.ended) > start))
    .map((job) => job.name);
  const picture = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    height,
    role: "img",
    "aria-label":
      `Timeline of ${many(jobs.length, "job")}, 24 hours back and ahead. ` +
      (names.length ? `Failures in: ${names.join(", ")}.` : "No failure.") +
      " Each job's history tells the same in words.",
  });
  for (let hours = narrow ? -12 : -18; hours <= 18; hours += narrow ? 12 : 6) {
    // On whole hours, so that the labels are round.
    const at = Math.floor((now() + hours * 3600000) / 3600000) * 3600000;
    if (!hours) continue;
    picture.append(
      draw("path", {class: "grid", d: `M${x(at)} ${top - 8}V${height}`}),
      draw(
        "text",
        {class: "dim", x: x(at), y: 14, "text-anchor": "middle"},
        format(zone)
          .text(at)
          .replace(/ \S+ (.*):00$/, " $1"),
      ),
    );
  }
  picture.append(
    draw("path", {class: "now", d: `M${x(now())} ${top - 8}V${height}`}),
    draw("text", {class: "now-text", x: x(now()), y: 14, "text-anchor": "middle"}, "now"),
  );
  jobs.forEach((job, index) =>
    drawLane(picture, job, x, {y: top + index * row + (narrow ? 27 : 13), left, right, narrow, start}),
  );
  place.replaceChildren(picture);
  say($("timeline-zone"), `Times in ${format(zone).name}; a dotted line is older than what is kept.`);
  const seen = GRAVITY.filter((outcome) => jobs.some((job) => job.history.some((entry) => entry.outcome === outcome)));
  patch($("legend"), seen, String, (outcome) =>
    make("li", null, mark(OUTCOMES[outcome], 9), OUTCOMES[outcome][0].toLowerCase()),
  );
}

function drawLane(picture, job, x, {y, left, right, narrow, start}) {
  const room = Math.floor((narrow ? right - left : left - 8) / 7.4),
    {name, history} = job;
  picture.append(
    draw(
      "text",
      narrow ? {x: left, y: y - 12} : {x: 0, y: y + 4},
      draw("title", null, name),
      name.length > room ? `${name.slice(0, room - 1)}…` : name,
    ),
  );
  const begun = Date.parse(shown.scheduler.started ?? shown.at);
  const oldest = history.length >= KEPT ? Date.parse(history[0].first ?? history[0].slot) : begun;
  picture.append(
    draw("path", {class: "unknown", d: `M${left} ${y}H${x(oldest)}`}),
    draw("path", {class: "known", d: `M${x(oldest)} ${y}H${x(now())}`}),
  );
  drawComing(picture, job, x, y, right);
  for (const run of job.running)
    picture.append(draw("path", {class: "live-run", d: `M${x(Date.parse(run.started))} ${y}H${x(now())}`}));
  const columns = new Map();
  for (const entry of history) {
    const at = Date.parse(entry.slot);
    if (at < start) continue;
    const column = Math.round(x(at) / 7) * 7;
    columns.set(column, [...(columns.get(column) ?? []), entry]);
    if (entry.first)
      picture.append(
        draw("path", {
          class: "mark",
          "data-tone": outcomeOf(entry.outcome)[1],
          d: `M${x(Date.parse(entry.first))} ${y}H${x(at)}`,
        }),
      );
  }
  for (const [column, entries] of columns) {
    // Of several that fall into one column, the gravest is drawn; the title counts them.
    entries.sort((one, other) => GRAVITY.indexOf(one.outcome) - GRAVITY.indexOf(other.outcome));
    const [, tone, shape, full] = outcomeOf(entries[0].outcome);
    picture.append(
      draw(
        "path",
        {class: full ? "mark full" : "mark", "data-tone": tone, d: shape, transform: `translate(${column} ${y})`},
        draw(
          "title",
          null,
          told(entries[0], job.schedule.zone) + (entries.length > 1 ? ` (and ${entries.length - 1} more)` : ""),
        ),
      ),
    );
  }
}

function drawComing(picture, job, x, y, right) {
  const marks = job.next_day.map((iso) => x(Date.parse(iso)));
  if (!marks.length || job.paused) return;
  const end = job.next_day_is_cut ? right : marks.at(-1);
  if (job.next_day_is_cut || (marks.length > 1 && (end - marks[0]) / marks.length < 4)) {
    picture.append(
      draw(
        "rect",
        {class: "band", x: marks[0], y: y - 3, width: Math.max(2, end - marks[0]), height: 6},
        draw("title", null, job.next_day_is_cut ? `more than ${marks.length} slots` : many(marks.length, "slot")),
      ),
    );
  } else {
    picture.append(draw("path", {class: "coming", d: marks.map((at) => `M${at} ${y - 5}V${y + 5}`).join("")}));
  }
}

// ---- Changes and actions

function announceChanges(doc, first) {
  const changed = [];
  const scheduler = doc.scheduler.state;
  if (states.has("") && states.get("") !== scheduler) changed.push(`The scheduler is ${scheduler}.`);
  states.set("", scheduler);
  for (const {name, state, why} of doc.jobs) {
    if (!first && states.has(name) && states.get(name) !== state)
      changed.push(`${name} is ${stateOf(state)[0]}${why ? `: ${why}` : ""}.`);
    states.set(name, state);
  }
  if (changed.length)
    announce(changed.slice(0, 3).join(" ") + (changed.length > 3 ? ` And ${changed.length - 3} more.` : ""));
}

function enable(node) {
  const {parts: part, job} = node;
  for (const button of part.actions.children) give(button, "aria-disabled", String(node.busy === true));
  if (!job.next || job.next.skipped || job.paused) give(part.skip, "aria-disabled", "true");
}

/** Do what the button says. It is disabled by aria-disabled, since a button with `disabled` loses the focus. */
async function act(node, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const {name} = node.job,
    word = button.firstChild.textContent;
  node.busy = true;
  enable(node);
  let text,
    done = false;
  try {
    const answer = await fetch(`jobs/${encodeURIComponent(name)}/${button.verb}`, {
      method: "POST",
      headers: {"Loopcron-Action": "1"},
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    done = answer.ok;
    const {detail} = await answer.json().catch(() => ({}));
    text = done ? `${word}: ${detail || "done"}` : `${word} was refused: ${detail || `HTTP ${answer.status}`}`;
  } catch {
    text = `${word}: the server did not answer; whether it was done is unknown`;
  }
  node.busy = false;
  enable(node);
  node.parts.said.hidden = false;
  give(node.parts.said, "data-tone", done ? "good" : "bad");
  say(node.parts.said, text);
  announce(`${name}: ${text}`);
  poll(true);
}

// ---- Polling

let timer = 0,
  request = null,
  trouble = "",
  answeredAt = performance.now(),
  pulse = 0,
  announced = false;

/** Ask for the document and show it; `anyway` also while frozen, as somebody asked for something else to be shown. */
async function poll(anyway = false) {
  clearTimeout(timer);
  request?.abort();
  request = null;
  if (document.hidden || (frozen && !anyway)) return;
  const mine = (request = new AbortController()),
    patience = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    const doc = await fetched(mine.signal);
    if (mine !== request) return;
    show(doc);
    answeredAt = performance.now();
    trouble = "";
  } catch (error) {
    if (mine !== request) return;
    trouble = error instanceof Refusal ? error.message : `This page failed: ${error}.`;
  } finally {
    clearTimeout(patience);
  }
  beat();
  timer = setTimeout(poll, POLL_MS);
}

class Refusal extends Error {}

async function fetched(signal) {
  const wanted = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
  const answer = await fetch(`status.json?${wanted}`, {signal, cache: "no-store", redirect: "manual"}).catch(() => {
    throw new Refusal("The server does not answer.");
  });
  if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
    throw new Refusal("The server no longer lets you in. Reload the page to sign in again.");
  }
  if (!answer.ok) throw new Refusal(`The server answered HTTP ${answer.status} instead of its status.`);
  const doc = await answer.json().catch(() => null);
  if (doc?.version !== 1) throw new Refusal("The server answered what this page does not understand. Reload it.");
  return doc;
}

function beat() {
  const silent = performance.now() - answeredAt;
  const stale = !frozen && (trouble || silent > STALE_MS);
  const seen = shown ? ` What you see is from ${utc(shown.at)} UTC, ${whole(silent)} ago.` : "";
  $("notice").hidden = !stale;
  say($("notice"), stale ? (trouble || "The server does not answer.") + seen : "");
  say($("live-text"), stale ? "No answer" : frozen ? "Updates paused" : shown ? "Live" : "Connecting");
  give($("live-text").parentNode, "data-tone", stale ? "bad" : frozen ? "odd" : shown ? "good" : "calm");
  if (Boolean(stale) !== announced) {
    announced = Boolean(stale);
    announce(stale ? trouble || "The server does not answer." : "The server answers again.");
  }
  if (!shown || (stale && trouble)) return;
  showScheduler(shown);
  for (const node of $("jobs").children) beatJob(node);
}

function wake() {
  clearInterval(pulse);
  if (!document.hidden && !frozen) {
    // Time spent hidden is no silence of the server.
    answeredAt = performance.now();
    pulse = setInterval(beat, 1000);
  }
  poll();
}

let typing = 0;
$("filter").value = asked.q;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => turn({q: $("filter").value.trim(), offset: 0}), 200);
});
$("search").addEventListener("submit", (event) => event.preventDefault());
$("previous").addEventListener("click", () => step($("previous"), -1));
$("following").addEventListener("click", () => step($("following"), 1));
$("lanes").addEventListener("click", () => {
  allLanes = !allLanes;
  showTimeline(shown);
});
$("hold").addEventListener("click", () => {
  frozen = !frozen;
  give($("hold"), "aria-pressed", String(frozen));
  wake();
  beat();
});

function step(button, by) {
  if (button.getAttribute("aria-disabled") !== "true")
    turn({offset: Math.max(0, Math.min(asked.offset + by * shown.limit, shown.total - 1))});
}

async function turn(change) {
  Object.assign(asked, change);
  const kept = new URLSearchParams(
    Object.entries({q: asked.q, limit: query.get("limit")}).filter(([, value]) => value),
  ).toString();
  history.replaceState(null, "", kept ? `?${kept}` : location.pathname);
  await poll(true);
  if (shown && !trouble)
    announce(shown.jobs.length ? `${many(shown.total, "job")}, ${$("place").textContent}` : $("none").textContent);
}

document.addEventListener("visibilitychange", wake);
new ResizeObserver(() => shown && showTimeline(shown)).observe($("timeline"));
wake();
