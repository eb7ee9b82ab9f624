/* The cases: which are listed, and one of them with its steps, the scores of one or two models, and a person's marks.
   Texts come from models and data: they only ever become text nodes. */
"use strict";

/** An element with attributes and children; children that are no elements become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(element.style, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A text as it is shown: control characters and those that turn the direction of text are made visible. */
function visible(text) {
  const named = (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.trimEnd().replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, named);
}

function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 100 ? value.toFixed(3) : value.toFixed(1);
}

/** The colour of a score, as gradatim.heat has it; `low` and `high` are the ends of the model's scale. */
function colour(value, [low, high] = [0, 1]) {
  if (value === null || value === undefined) return "hsl(0 0% 60%)";
  const at = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  return `hsl(${Math.round(18 + at * 154)} 70% ${Math.round(52 - 10 * Math.abs(at - 0.5))}%)`;
}

const browser = (() => {
  const RATINGS = [
    ["none", null, "–", "not marked"],
    ["right", 1, "right", "right"],
    ["bad", -1, "wrong", "wrong"],
    ["neutral", 0, "neutral", "neutral"],
  ];
  const KEYS = { r: 1, w: -1, n: 0, u: null };
  const state = { place: 0, kind: "mistakes", class: "", generator: "", marked: "", text: "", a: "", b: "" };
  let data, listed = [], current = null, step = 0, scales = {};

  const at = (id) => document.getElementById(id);
  const said = (one, model) => (model ? one.by[model] : undefined);
  const text = (one) => (typeof one === "string" ? one : one.text);
  const prompt = (one) => (one.solution ? one.solution.prompt : one.prompt);

  function start(found) {
    data = found;
    scales = Object.fromEntries(data.models.map((model) => [model, scale(model)]));
    marks.open(data.cases, refresh);
    at("list").addEventListener("keydown", listKeys);
    document.addEventListener("keydown", keys);
    at("browser").hidden = false;
  }

  /** From 0 to 1 where all scores of a model are there; else from its lowest to its highest. */
  function scale(model) {
    const scores = data.cases.flatMap((one) => (one.by[model] ? one.by[model].scores : [])).filter((score) => score !== null);
    const low = scores.reduce((least, score) => Math.min(least, score), 0);
    const high = scores.reduce((most, score) => Math.max(most, score), 1);
    return [low, high];
  }

  function compare(a, b) {
    state.a = a;
    state.b = b;
    filters();
    list();
  }

  // ------------------------------------------------------------------------------------------------ which cases

  function inPlace() {
    const { suite, subset } = data.places[state.place];
    return data.cases.filter((one) => one.suite === suite && one.subset === subset && said(one, state.a));
  }

  function kinds(cases) {
    const held = [...new Set(cases.map((one) => said(one, state.a).kind))].sort();
    const both = state.b ? [["a", `${state.a} right, ${state.b} mistaken`], ["b", `${state.a} mistaken, ${state.b} right`]] : [];
    return [["mistakes", "all mistakes"], ...held.map((kind) => [`kind:${kind}`, kind]), ...both, ["all", "all on this page"]];
  }

  function isKind(one) {
    const a = said(one, state.a), b = said(one, state.b);
    if (state.kind === "all") return true;
    if (state.kind === "mistakes") return a.mistaken;
    if (state.kind === "a") return b && !a.mistaken && b.mistaken;
    if (state.kind === "b") return b && a.mistaken && !b.mistaken;
    return `kind:${a.kind}` === state.kind;
  }

  function matches(one) {
    const author = one.solution ? one.solution.author : "";
    const texts = () => [one.id, prompt(one), ...(one.solution ? one.solution.steps.map(text) : one.answers)].join("\n").toLowerCase();
    return (
      isKind(one) &&
      (!state.class || one.class === state.class) &&
      (!state.generator || author === state.generator) &&
      (!state.marked || (Boolean(one.solution) && marks.isMarked(one)) === (state.marked === "marked")) &&
      (!state.text || texts().includes(state.text.toLowerCase()))
    );
  }

  function choice(name, label, options) {
    if (options.length < 2) return null;
    const element = make("select", { onchange: () => choose(name, element.value) });
    element.append(...options.map(([value, told]) => make("option", { value }, visible(told))));
    element.value = String(state[name]);
    return make("label", {}, label, element);
  }

  function choose(name, value) {
    state[name] = name === "place" ? Number(value) : value;
    if (name === "place") Object.assign(state, { kind: "mistakes", class: "", generator: "" });
    if (name === "place") filters();
    list();
  }

  function filters() {
    const cases = inPlace();
    const held = (read) => [...new Set(cases.map(read).filter(Boolean))].sort().map((value) => [value, value]);
    const any = (options) => (options.length > 1 ? [["", "any"], ...options] : []);
    const options = kinds(cases);
    if (!options.some(([value]) => value === state.kind)) state.kind = "mistakes";
    const search = make("input", { type: "search", value: state.text, oninput: () => choose("text", search.value) });
    at("filters").replaceChildren(
      ...[
        choice("place", "Subset", data.places.map(({ name }, index) => [String(index), name])),
        choice("kind", `What ${state.b ? "the first model" : "the model"} said`, options),
        choice("class", "Class", any(held((one) => one.class))),
        choice("generator", "Generator", any(held((one) => one.solution && one.solution.author))),
        choice("marked", "Your marks", [["", "any"], ["marked", "marked"], ["open", "not marked"]]),
        make("label", { class: "wide" }, "Search in problems and steps", search),
      ].filter(Boolean),
    );
  }

  // -------------------------------------------------------------------------------------------------- the list

  function list() {
    listed = inPlace().filter(matches);
    const surest = (one) => [said(one, state.a).mistaken ? 0 : 1, -said(one, state.a).sureness];
    listed.sort((one, other) => surest(one)[0] - surest(other)[0] || surest(one)[1] - surest(other)[1]);
    at("list").replaceChildren(...listed.map(entry));
    show(listed.includes(current) ? current : listed[0] || null);
  }

  function entry(one, index) {
    const { kind, sureness, mistaken, scores } = said(one, state.a);
    const strip = one.solution ? scores.map((score, k) => make("i", { class: k === one.true ? "wrong" : "", style: { background: colour(score, scales[state.a]) } })) : [];
    const mark = one.solution && marks.isMarked(one) ? "✎ " : "";
    return make(
      "li",
      { role: "option", id: `case-${index}`, "aria-selected": "false", onclick: () => { show(one); at("list").focus({ preventScroll: true }); } },
      make("span", { class: "line" }, make("bdi", { class: "name" }, mark + visible(one.id)), make("span", { class: "kind" }, mistaken ? `${kind} ${number(sureness)}` : kind)),
      make("span", { class: "strip", "aria-hidden": "true" }, strip),
    );
  }

  function go(by) {
    const next = listed[Math.min(listed.length - 1, Math.max(0, listed.indexOf(current) + by))];
    if (next && next !== current) show(next);
  }

  function listKeys(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, Home: -listed.length, End: listed.length }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    go(by);
  }

  // ---------------------------------------------------------------------------------------------- the one case

  function show(one) {
    if (one !== current) step = 0;
    current = one;
    for (const option of at("list").children) option.setAttribute("aria-selected", "false");
    const option = at("list").children[listed.indexOf(one)];
    const where = one ? `${listed.indexOf(one) + 1} of ${listed.length}` : "No such case on this page.";
    at("count").textContent = one ? `${listed.length} ${listed.length === 1 ? "case" : "cases"}` : where;
    at("case").hidden = !one;
    if (!one) return at("list").removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    at("list").setAttribute("aria-activedescendant", option.id);
    scrollInside(at("list"), option);
    at("case").replaceChildren(top(one, where), facts(one), problem(one), one.solution ? steps(one) : answers(one), one.solution ? below(one) : "");
  }

  /** Moves the list, and never the page. */
  function scrollInside(box, item) {
    const above = item.offsetTop - box.offsetTop;
    if (above < box.scrollTop) box.scrollTop = above;
    else if (above + item.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = above + item.offsetHeight - box.clientHeight;
  }

  function top(one, where) {
    return make(
      "div",
      { class: "top" },
      make("h3", { class: "untrusted" }, visible(one.id)),
      make(
        "div",
        { class: "bar" },
        make("span", { class: "position" }, where),
        make("button", { type: "button", id: "previous", onclick: () => { go(-1); at("previous").focus(); } }, "Previous ", make("kbd", {}, "k")),
        make("button", { type: "button", id: "next", onclick: () => { go(1); at("next").focus(); } }, "Next ", make("kbd", {}, "j")),
      ),
    );
  }

  function facts(one) {
    const models = [[state.a, state.b ? "A" : ""], [state.b, "B"]].filter(([model]) => said(one, model));
    const line = (name, told) => make("li", { class: "untrusted" }, `${name}: `, make("b", {}, visible(told)));
    const judged = ([model, side]) =>
      make(
        "li",
        { class: "untrusted model" },
        side ? make("span", { class: "side-name" }, side) : null,
        `${visible(model)}: `,
        make("b", { class: said(one, model).mistaken ? "miss" : "hit" }, sentence(one, said(one, model))),
      );
    const right = { true: "right", false: "wrong" }[String(one.answer_correct)];
    return make(
      "ul",
      { class: "badges" },
      one.true_known ? line("first wrong step", one.true === null ? "none" : `step ${one.true + 1}`) : null,
      one.solution && one.solution.author ? line("by", one.solution.author) : null,
      one.class ? line("class", one.class) : null,
      right ? line("final answer", right) : null,
      models.map(judged),
    );
  }

  function sentence(one, found) {
    const words = [found.mistaken ? `✗ ${found.kind}, sure by ${number(found.sureness)}` : `✓ ${found.kind}`];
    if (found.value !== null) words.push(`value ${number(found.value)}`);
    if (found.threshold !== null) words.push(`calls ${found.named === null ? "none" : `step ${found.named + 1}`} wrong at ${Number(found.threshold.toPrecision(4))}`);
    return words.join("; ");
  }

  function problem(one) {
    return make("div", { class: "prompt untrusted", tabindex: "0", role: "region", "aria-label": "Problem" }, visible(prompt(one)));
  }

  function sides(one) {
    const named = state.b ? [[state.a, "A"], [state.b, "B"]] : [[state.a, "score"]];
    return named.filter(([model]) => said(one, model) && said(one, model).scores.length);
  }

  function heads(one, last) {
    const names = sides(one).map(([model, side]) => make("th", { scope: "col", class: "score", title: model }, side));
    return make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "at" }, make("span", { class: "sr" }, "step")), names, make("th", { scope: "col" }, ""), last));
  }

  function cells(one, k) {
    return sides(one).map(([model, side]) => {
      const { scores, threshold, named } = said(one, model);
      const score = scores[k];
      const called = one.suite === "prmbench" ? score !== null && score < threshold : named === k;
      const attributes = score === null ? { class: "score none" } : { class: "score", style: { background: colour(score, scales[model]) } };
      return make("td", { ...attributes, "data-side": state.b ? side : null, title: model }, number(score), called ? make("span", {}, " ✗", make("span", { class: "sr" }, " called wrong")) : null);
    });
  }

  function steps(one) {
    const body = one.solution.steps.map((each, k) => {
      const wrong = one.marks[k] === -1 || k === one.true;
      const told = k === one.true ? "first wrong step" : wrong ? "wrong step" : null;
      return make(
        "tr",
        { class: wrong ? "wrong" : "", "data-step": k, onfocusin: () => reach(k) },
        make("th", { class: "at", scope: "row" }, String(k + 1)),
        cells(one, k),
        make("td", { class: "text untrusted" }, told ? make("b", { class: "miss" }, told) : null, make("div", {}, visible(text(each)))),
        marks.isObservation(each) ? make("td", { class: "mark" }, "observation") : make("td", { class: "mark" }, group(one, k)),
      );
    });
    const table = make("table", { class: "steps" }, heads(one, make("th", { scope: "col" }, "your mark")), make("tbody", {}, body));
    requestAnimationFrame(() => reach(step));
    return table;
  }

  function group(one, k) {
    const rating = marks.of(one).ratings[k];
    const options = RATINGS.map(([style, value, shown, told]) => {
      const input = make("input", { type: "radio", name: `step-${k}`, "aria-label": told, value: style, onchange: () => rate(k, value) });
      input.checked = rating === value;
      return make("label", { class: style, title: told }, input, shown);
    });
    return make("fieldset", {}, make("legend", { class: "sr" }, `Step ${k + 1}`), options);
  }

  function answers(one) {
    const body = one.answers.map((answer, k) =>
      make(
        "tr",
        { class: "answer" },
        make("th", { class: "at", scope: "row" }, String(k + 1)),
        cells(one, k),
        make("td", { class: "text untrusted" }, make("b", { class: k < one.chosen ? "hit" : "miss" }, k < one.chosen ? "should be chosen" : "should be rejected"), make("div", {}, visible(answer))),
      ),
    );
    return make("table", { class: "steps" }, heads(one, null), make("tbody", {}, body));
  }

  function below(one) {
    const note = make("textarea", { id: "note", onchange: () => marks.note(one, note.value) });
    note.value = marks.of(one).note;
    const key = (name, told) => [make("kbd", {}, name), ` ${told} `];
    return make(
      "div",
      { class: "below" },
      make("p", { class: "bar" }, make("button", { type: "button", id: "rest", onclick: rest }, "The other steps are right ", make("kbd", {}, "a"))),
      make("label", {}, "Note", note),
      make("p", { class: "keys" }, key("j", "next case"), key("k", "previous"), key("↑ ↓", "step"), key("r", "right"), key("w", "wrong"), key("n", "neutral"), key("u", "not marked"), key("a", "unmarked steps before the first wrong one, or all, are right")),
    );
  }

  // ------------------------------------------------------------------------------------------------- marking

  function rows() {
    return [...at("case").querySelectorAll("tr[data-step]")];
  }

  function reach(k) {
    step = k;
    for (const row of rows()) row.classList.toggle("current", Number(row.dataset.step) === k);
  }

  function rate(k, value) {
    marks.rate(current, marks.of(current).ratings.map((rating, index) => (index === k ? value : rating)));
  }

  function rest() {
    const { ratings } = marks.of(current);
    const end = ratings.includes(-1) ? ratings.indexOf(-1) : ratings.length;
    const open = (rating, k) => k < end && rating === null && !marks.isObservation(current.solution.steps[k]);
    marks.rate(current, ratings.map((rating, k) => (open(rating, k) ? 1 : rating)));
  }

  /** Marks may have changed here, in another tab or by a file: the choices and the list follow, the focus stays. */
  function refresh() {
    for (const row of current && current.solution ? rows() : []) {
      const rating = marks.of(current).ratings[Number(row.dataset.step)];
      for (const input of row.querySelectorAll("input")) input.checked = RATINGS.find(([style]) => style === input.value)[1] === rating;
    }
    const note = at("note");
    if (note && document.activeElement !== note) note.value = marks.of(current).note;
    listed.forEach((one, index) => {
      const name = at("list").children[index].querySelector(".name");
      name.textContent = (one.solution && marks.isMarked(one) ? "✎ " : "") + visible(one.id);
    });
    told();
  }

  function told() {
    const { count, kept } = marks.state();
    const solutions = `${count} ${count === 1 ? "solution" : "solutions"} marked.`;
    at("kept").textContent = kept ? `${solutions} Kept in this browser.` : `${solutions} This browser keeps nothing for this page: export before you leave it.`;
    at("export").disabled = count === 0;
  }

  function focusStep(k) {
    const row = rows()[Math.min(rows().length - 1, Math.max(0, k))];
    const input = row && (row.querySelector("input:checked") || row.querySelector("input"));
    if (input) input.focus();
  }

  function keys(event) {
    const target = event.target;
    const typing = target.matches("textarea, select, input:not([type=radio])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !current) return;
    if (event.key === "j" || event.key === "k") return go(event.key === "j" ? 1 : -1);
    if (!current.solution) return;
    if (event.key === "a") return rest();
    if (event.key in KEYS && rows()[step] && rows()[step].querySelector("input")) {
      rate(step, KEYS[event.key]);
      return focusStep(step + 1);
    }
    if (target.matches("input[type=radio]") && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      focusStep(step + (event.key === "ArrowDown" ? 1 : -1));
    }
  }

  return { start, compare, told };
})();
