/* What a person marks: a rating a step (1 right, -1 wrong, 0 neutral, null not marked) and a note a solution. Kept in this
   browser where it lets us, solution by solution; exported as rows that `gradatim train` reads. Nothing is sent anywhere. */
"use strict";

const marks = (() => {
  const PREFIX = "gradatim.marks.";
  const known = new Map(); // solution id -> case
  const held = new Map(); // solution id -> {ratings, note}
  const storage = usable();
  let unsaved = false;
  let changed = () => {};

  function usable() {
    try {
      localStorage.setItem(`${PREFIX}probe`, "");
      localStorage.removeItem(`${PREFIX}probe`);
      return localStorage;
    } catch {
      return null;
    }
  }

  /** Takes the page's cases, and what this browser has kept of their marks; `listener` is called after every change. */
  function open(cases, listener) {
    for (const one of cases) if (one.solution) known.set(one.solution.id, one);
    for (const id of known.keys()) load(id, storage && storage.getItem(PREFIX + id));
    changed = listener;
    addEventListener("storage", (event) => {
      const id = event.key && event.key.startsWith(PREFIX) ? event.key.slice(PREFIX.length) : "";
      if (!known.has(id)) return;
      held.delete(id);
      load(id, event.newValue);
      changed();
    });
    addEventListener("beforeunload", (event) => {
      if (unsaved) event.preventDefault();
    });
  }

  function load(id, text) {
    try {
      const found = JSON.parse(text);
      if (found && fits(known.get(id), found.ratings)) held.set(id, { ratings: found.ratings, note: String(found.note || "") });
    } catch {
      /* what another program put there is not ours to mend */
    }
  }

  function fits(one, ratings) {
    const allowed = (rating) => [1, 0, -1, null].includes(rating);
    return Array.isArray(ratings) && ratings.length === one.solution.steps.length && ratings.every(allowed);
  }

  function of(one) {
    return held.get(one.solution.id) || { ratings: one.solution.steps.map(() => null), note: "" };
  }

  function isMarked(one) {
    const { ratings, note } = of(one);
    return ratings.some((rating) => rating !== null) || note !== "";
  }

  function keep(one, found) {
    const id = one.solution.id;
    held.set(id, found);
    try {
      if (!storage) throw new Error("no storage");
      if (isMarked(one)) storage.setItem(PREFIX + id, JSON.stringify(found));
      else storage.removeItem(PREFIX + id);
    } catch {
      unsaved = true; // told by `state`, and again before the page is left
    }
    changed();
  }

  function rate(one, ratings) {
    keep(one, { ...of(one), ratings });
  }

  function note(one, text) {
    keep(one, { ...of(one), note: text });
  }

  function marked() {
    return [...known.values()].filter(isMarked);
  }

  /** An observation was written by the environment: it is neither right nor wrong. */
  function isObservation(step) {
    return typeof step === "object" && step.kind === "observation";
  }

  function row(one, by) {
    const { ratings, note } = of(one);
    const error = ratings.indexOf(-1);
    const end = error < 0 ? ratings.length : error;
    const open = ratings.some((rating, at) => at < end && rating === null && !isObservation(one.solution.steps[at]));
    const tally = { "1": [1, 1, 0], "-1": [0, 1, 0] };
    const labels = {
      schema: "gradatim.labels/1",
      solution_id: one.solution.id,
      tallies: ratings.map((rating) => tally[rating] || [0, 0, 0]),
      error: error < 0 ? null : error,
      error_known: !open,
      truth: "validity",
      source: "human",
      by,
      rule: `marked on the page of ${one.suite}, ${one.subset}`,
      bounds: null,
      ratings,
      optional_stopping: false,
      start: [0, 0, 0],
      note,
    };
    return { schema: "gradatim.labelled/1", solution: one.solution, labels };
  }

  /** All marked solutions as JSON Lines, and forgets that there is something to save. */
  function exported(by) {
    unsaved = false;
    changed();
    return marked().map((one) => `${JSON.stringify(row(one, by))}\n`).join("");
  }

  /** Takes the labels of exported rows. What is marked here and otherwise there stays as it is here, and is counted. */
  function read(text) {
    const told = { taken: 0, same: 0, otherwise: 0, elsewhere: 0, unreadable: 0 };
    for (const line of text.split("\n").filter((one) => one.trim())) told[taken(line)] += 1;
    return told;
  }

  function taken(line) {
    let found;
    try {
      found = JSON.parse(line);
    } catch {
      return "unreadable";
    }
    if (!found || found.schema !== "gradatim.labelled/1" || !found.labels || !found.solution) return "unreadable";
    const one = known.get(found.solution.id);
    if (!one) return "elsewhere";
    const given = { ratings: found.labels.ratings, note: String(found.labels.note || "") };
    if (!fits(one, given.ratings)) return "unreadable";
    if (JSON.stringify(of(one)) === JSON.stringify(given)) return "same";
    if (isMarked(one)) return "otherwise";
    keep(one, given);
    return "taken";
  }

  function state() {
    return { count: marked().length, kept: storage !== null && !unsaved };
  }

  return { open, of, rate, note, isMarked, isObservation, exported, read, state };
})();
