"use strict";
// The page is whole without this script: it adds the choice of method and code length, and sorting by a column.
(() => {
  const sections = [...document.querySelectorAll("main > section")];
  const fieldOf = (section, what) => section.querySelector(`[data-choice="${what}"]`);
  const chosen = (section, what) => fieldOf(section, what)?.querySelector("input:checked").value ?? "";

  const choices = ["bits", "method", "kind", "direction", "group", "layer"];

  // A part without the attribute belongs to every choice; a section without the choice shows all it has.
  const show = (section) => {
    const wanted = choices.map((what) => [what, chosen(section, what)]).filter(([, value]) => value !== "");
    for (const part of section.querySelectorAll(choices.map((what) => `[data-${what}]`).join())) {
      part.hidden = wanted.some(([what, value]) => part.dataset[what] !== undefined && part.dataset[what] !== value);
    }
    for (const block of section.querySelectorAll(".answers")) {
      const answers = [...block.querySelectorAll(".answer")].filter((answer) => !answer.hidden);
      block.dataset.shown = answers.length;
      block.querySelector(":scope > .empty").hidden = answers.length > 0;
    }
  };

  // What is chosen in one section is chosen in every other that offers it.
  const choose = (what, value) => {
    for (const section of sections) {
      const inputs = [...(fieldOf(section, what)?.querySelectorAll("input") ?? [])];
      const same = inputs.find((input) => input.value === value);
      if (same) same.checked = true;
      show(section);
    }
  };

  const sort = (table, column, kind, down) => {
    const key = (row) => row.cells[column].dataset.key;
    const compare = kind === "number"
      ? (a, b) => (key(a) === "" ? -Infinity : Number(key(a))) - (key(b) === "" ? -Infinity : Number(key(b))) || 0
      : (a, b) => key(a).localeCompare(key(b));
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place);
    body.append(...rows.sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  };

  const sortable = (table) => {
    [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
    const heads = [...table.tHead.querySelectorAll("[data-sort]")];
    heads.forEach((head) => {
      const column = Number(head.dataset.column ?? head.cellIndex);
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const kind = head.dataset.sort;
        const before = head.getAttribute("aria-sort");
        // Scores are read from the top, names and lengths from the start.
        const down = before ? before === "ascending" : head.classList.contains("score") || "down" in head.dataset;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        table.dataset.sorted = column;
        sort(table, column, kind, down);
      });
    });
  };

  for (const field of document.querySelectorAll("[data-choice]")) {
    field.hidden = false;
    field.addEventListener("change", (event) => choose(field.dataset.choice, event.target.value));
  }
  document.querySelectorAll("table.sortable").forEach(sortable);
  sections.forEach(show);
  document.documentElement.dataset.ready = "yes";
})();
