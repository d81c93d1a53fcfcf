"use strict";
// A user's history as a time line, candidates ranked, and attention as colour on the history.

const WORDS = {
  en: {
    user: "User", show: "Show", history: "History, newest first", ranked: "Candidates, best first",
    add: "Add", token: "Token", event: "Item to add to the history", candidate: "Item to rank",
    touch: "Choose a candidate: the colours of the history show its attention.",
    empty: "The history is empty.", from: (n, source) => `${n} events from: ${source}`,
    changed: "changed here, not stored", remove: (item) => `Remove ${item}`, unknown: "unknown item",
    low: "low", high: "high", negative: "negative", bundle: (f) => `${f.model}, ${f.dataset}, version ${f.version}`,
    moved: (n) => (n > 0 ? `▲ ${n}` : `▼ ${-n}`), weight: "attention",
  },
  zh: {
    user: "用户", show: "显示", history: "历史行为（最新在前）", ranked: "候选商品（最优在前）",
    add: "添加", token: "令牌", event: "要加入历史的商品", candidate: "要排序的商品",
    touch: "选择一个候选商品，历史上的颜色表示它的注意力。",
    empty: "历史为空。", from: (n, source) => `${n} 个行为，来自：${source}`,
    changed: "在此页修改，未保存", remove: (item) => `移除 ${item}`, unknown: "未知商品",
    low: "低", high: "高", negative: "负", bundle: (f) => `${f.model}，${f.dataset}，版本 ${f.version}`,
    moved: (n) => (n > 0 ? `▲ ${n}` : `▼ ${-n}`), weight: "注意力",
  },
};
const ATTRIBUTES = 3; // of an item that are shown
const get = (id) => document.getElementById(id);

const state = {
  language: localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en"),
  facts: null, user: "", events: [], source: "none", changed: false,
  candidates: [], answer: null, before: new Map(), chosen: null, asked: 0,
};
const words = () => WORDS[state.language];

function translate() {
  document.documentElement.lang = state.language;
  for (const place of document.querySelectorAll("[data-text]")) {
    place.textContent = words()[place.dataset.text];
  }
  get("language").textContent = state.language === "en" ? "中文" : "English";
  get("language").lang = state.language === "en" ? "zh" : "en";
  for (const id of ["event", "candidate"]) {
    get(id).placeholder = words()[id];
    get(id).setAttribute("aria-label", words()[id]);
  }
  if (state.facts) get("bundle").textContent = words().bundle(state.facts);
  draw();
}

function described(attributes = {}) {
  return Object.values(attributes).slice(0, ATTRIBUTES).join(" · ");
}

function moment(time) {
  if (!state.facts || state.facts.time !== "seconds") return String(time);
  return new Date(1000 * time).toLocaleString(state.language);
}

function colour(weight, largest) {
  const share = largest ? Math.min(1, Math.abs(weight) / largest) : 0;
  const hue = weight < 0 ? "21, 101, 192" : "230, 81, 0"; // around zero: blue below, orange above
  return `rgba(${hue}, ${(0.5 * share).toFixed(3)})`;
}

function attention() {
  const candidates = state.answer ? state.answer.candidates : [];
  const chosen = candidates.find((c) => String(c.item) === state.chosen);
  return chosen ? chosen.attention : [];
}

function drawHistory() {
  const weights = attention();
  const largest = Math.max(0, ...weights.map(Math.abs));
  const cut = state.events.length - weights.length; // the model reads the newest ones alone
  const rows = state.events.map((event, k) => {
    const remove = element("button", { type: "button", className: "remove", title: words().remove(event.item) }, "×");
    remove.setAttribute("aria-label", words().remove(event.item));
    remove.addEventListener("click", () => change(state.events.filter((_, other) => other !== k)));
    const what = element("span", { className: "what" }, String(event.item));
    what.append(element("small", {}, [described(event.attributes), moment(event.time)].filter(Boolean).join(" · ")));
    const row = element("li", {}, what);
    const weight = weights[k - cut];
    if (weight !== undefined) {
      row.style.backgroundColor = colour(weight, largest);
      row.append(element("span", { className: "weight", title: words().weight }, weight.toFixed(4)));
    }
    row.append(remove);
    return row;
  });
  get("events").replaceChildren(...rows.reverse());
  const source = state.changed ? words().changed : state.source;
  get("history-hint").textContent = state.events.length ? words().from(state.events.length, source) : words().empty;
  drawScale(weights, largest);
}

function drawScale(weights, largest) {
  const place = get("scale");
  place.hidden = !weights.length;
  const negative = weights.some((weight) => weight < 0);
  const strip = element("i");
  const left = negative ? colour(-1, 1) : "transparent";
  strip.style.background = `linear-gradient(to right, ${left}, transparent ${negative ? 50 : 0}%, ${colour(1, 1)})`;
  const low = negative ? `${words().negative} −${largest.toFixed(4)}` : words().low;
  place.replaceChildren(low, strip, `${words().high} ${largest.toFixed(4)}`);
}

function drawRanked() {
  const candidates = state.answer ? state.answer.candidates : [];
  const rows = candidates.map((candidate) => {
    const item = String(candidate.item);
    const what = element("span", { className: "what" }, item);
    what.append(element("small", {}, candidate.known ? described(candidate.attributes) : words().unknown));
    const bar = element("div", { className: "bar" });
    bar.style.width = `${100 * candidate.score}%`;
    what.append(bar);
    const row = element("button", { type: "button", className: "row" },
      element("span", { className: "place" }, String(candidate.place)), what);
    const before = state.before.get(item);
    if (before && before !== candidate.place) {
      row.append(element("span", { className: "moved" }, words().moved(before - candidate.place)));
    }
    row.append(element("span", { className: "score" }, candidate.score.toFixed(4)));
    row.setAttribute("aria-pressed", String(item === state.chosen));
    row.dataset.item = item;
    const choose = () => chooseCandidate(item);
    row.addEventListener("click", choose);
    row.addEventListener("focus", choose);
    row.addEventListener("mouseenter", choose);
    return element("li", {}, row);
  });
  get("ranked").replaceChildren(...rows);
}

function chooseCandidate(item) {
  if (item === state.chosen) return;
  state.chosen = item;
  for (const row of document.querySelectorAll(".ranked .row")) {
    row.setAttribute("aria-pressed", String(row.dataset.item === item));
  }
  drawHistory();
}

function draw() {
  drawHistory();
  drawRanked();
}

async function rank() {
  const asked = ++state.asked;
  const before = new Map((state.answer ? state.answer.candidates : []).map((c) => [String(c.item), c.place]));
  const latest = state.events.length ? state.events[state.events.length - 1].time : 0;
  const request = {
    history: state.events.map(({ item, time, fields }) => ({ item, time, ...fields })),
    candidates: state.candidates,
  };
  if (state.user) request.user = state.user;
  const now = Math.floor(Date.now() / 1000);
  request.time = state.facts.time === "seconds" ? Math.max(now, latest) : latest;
  try {
    const answer = await askJson("/rank?explain=1", { method: "POST", body: JSON.stringify(request) });
    if (asked !== state.asked) return; // a later change has asked since
    state.answer = answer;
    state.before = before;
    if (!answer.candidates.some((c) => String(c.item) === state.chosen)) {
      state.chosen = String(answer.candidates[0].item);
    }
    showError("");
    draw();
  } catch (error) {
    showError(error.message);
  }
}

function change(events) {
  state.events = events;
  state.changed = true;
  return rank();
}

async function show(user) {
  try {
    const found = await askJson(`/history?user=${encodeURIComponent(user)}`);
    state.user = user;
    state.events = found.events.map(({ item, time, ...rest }) => {
      const own = Object.keys(state.facts.event_fields).filter((name) => name in rest);
      return { item, time, fields: Object.fromEntries(own.map((name) => [name, rest[name]])), attributes: rest };
    });
    state.source = found.from;
    state.changed = false;
    state.answer = null;
    await rank();
  } catch (error) {
    showError(error.message);
  }
}

async function suggest(kind, field, list) {
  try {
    const found = await askJson(`/${kind}?limit=20&q=${encodeURIComponent(get(field).value)}`);
    const names = found[kind].map((entry) => (typeof entry === "string" ? entry : entry.item));
    get(list).replaceChildren(...names.map((name) => element("option", { value: name })));
  } catch (error) {
    showError(error.message);
  }
}

async function withAttributes(item) {
  const found = await askJson(`/items?limit=20&q=${encodeURIComponent(item)}`);
  const { item: _, ...attributes } = found.items.find((entry) => entry.item === item) || {};
  return attributes;
}

get("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  show(get("user").value.trim());
});
get("add-event").addEventListener("submit", async (event) => {
  event.preventDefault();
  const item = get("event").value.trim();
  if (!item) return;
  get("event").value = "";
  const latest = state.events.length ? state.events[state.events.length - 1].time : 0;
  const now = Math.floor(Date.now() / 1000);
  const time = state.facts.time === "seconds" ? Math.max(now, latest) : latest + 1;
  try {
    await change([...state.events, { item, time, attributes: await withAttributes(item) }]);
  } catch (error) {
    showError(error.message);
  }
});
get("add-candidate").addEventListener("submit", (event) => {
  event.preventDefault();
  const item = get("candidate").value.trim();
  if (!item) return;
  get("candidate").value = "";
  if (!state.candidates.includes(item)) state.candidates.push(item);
  rank();
});
get("language").addEventListener("click", () => {
  state.language = state.language === "en" ? "zh" : "en";
  localStorage.setItem("language", state.language);
  translate();
});
get("user").addEventListener("input", () => suggest("users", "user", "users"));
get("event").addEventListener("input", () => suggest("items", "event", "items"));
get("candidate").addEventListener("input", () => suggest("items", "candidate", "items"));

async function start() {
  translate();
  try {
    state.facts = await askJson("/");
    const users = (await askJson("/users?limit=20")).users;
    const items = (await askJson("/items?limit=12")).items;
    state.candidates = items.map((entry) => entry.item);
    get("users").replaceChildren(...users.map((name) => element("option", { value: name })));
    translate();
    get("user").value = users[0] || "";
    await show(get("user").value);
  } catch (error) {
    showError(error.message);
  }
}

tokenField.addEventListener("change", start);
start();
