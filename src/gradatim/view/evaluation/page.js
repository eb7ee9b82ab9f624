/* What holds the page together: light and dark, the choice of one or two models, and labels out to a file and back in. */
"use strict";

(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);

  // Light and dark: as the system has it, until the reader says otherwise. The choice holds while the page is open.

  const system = matchMedia("(prefers-color-scheme: dark)");
  let dark = system.matches;
  function colours(now) {
    dark = now;
    at("theme").textContent = dark ? "Light" : "Dark";
    at("theme").setAttribute("aria-label", `Show the page in ${dark ? "light" : "dark"} colours`);
  }
  system.addEventListener("change", () => document.documentElement.style.colorScheme || colours(system.matches));
  at("theme").addEventListener("click", () => {
    colours(!dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  });
  colours(dark);
  at("theme").hidden = false;

  // One or two models

  function options(select, names, value) {
    for (const [key, told] of names) {
      const option = document.createElement("option");
      option.value = key;
      option.textContent = told;
      select.append(option);
    }
    select.value = value;
    select.addEventListener("change", compare);
  }

  function compare() {
    const a = at("model-a") ? at("model-a").value : data.models[0];
    const b = at("model-b") && at("model-b").value !== a ? at("model-b").value : "";
    const rows = document.querySelectorAll("#differences tbody tr");
    rows.forEach((row, index) => {
      const pair = data.pairs[index];
      row.hidden = !(pair.includes(a) && (b === "" || pair.includes(b)));
    });
    browser.compare(a, b);
  }

  browser.start(data);
  if (at("chooser")) {
    const names = data.models.map((name) => [name, name]);
    options(at("model-a"), names, data.models[0]);
    options(at("model-b"), [["", "none"], ...names], data.models[1]);
    at("chooser").hidden = false;
  }
  compare();
  browser.told();

  // Labels

  at("export").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([marks.exported(at("by").value.trim() || "person")], { type: "application/jsonl" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = "labels.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });

  at("import").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    const { taken, same, otherwise, elsewhere, unreadable } = marks.read(await file.text());
    const left = [
      [same, "as they are here"],
      [otherwise, "marked otherwise here, and left so"],
      [elsewhere, "of solutions that are not on this page"],
      [unreadable, "no labels of this page's kind"],
    ].filter(([count]) => count);
    at("kept").textContent = [`${taken} read`, ...left.map(([count, told]) => `${count} ${told}`)].join("; ") + ".";
    event.target.value = "";
  });
})();
