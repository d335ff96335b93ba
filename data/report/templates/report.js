"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const search = find("search"), verdict = find("verdict"), reason = find("reason");
  const list = find("rows"), more = find("more"), count = find("count");
  const PAGE = 25;
  let shown = PAGE;

  // Text of models reaches the page here and nowhere else, as text.
  const element = (name, kind, text) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fate = (row) => row.drop_reason || "kept";

  const options = (select, values) => {
    for (const [value, number] of [...values].sort()) {
      const option = element("option", "", `${value.replaceAll("_", " ")} (${number})`);
      option.value = value;
      select.append(option);
    }
  };
  const tally = (key) => {
    const counts = new Map();
    for (const row of rows) counts.set(key(row), (counts.get(key(row)) || 0) + 1);
    return counts;
  };

  const marked = (parent, text, words) => {
    const place = words ? text.toLowerCase().indexOf(words) : -1;
    if (place < 0 || text.toLowerCase().length !== text.length) { parent.textContent = text; return parent; }
    parent.append(text.slice(0, place), element("mark", "", text.slice(place, place + words.length)),
      text.slice(place + words.length));
    return parent;
  };

  const PLAIN = ["prompt", "response", "verdict", "drop_reason"];
  const inside = (row, words) => {
    const box = element("div", "inside");
    for (const [title, name] of [["Problem", "prompt"], ["Response", "response"]]) {
      box.append(element("h3", "", title), marked(element("p", "text"), row[name] || "", words));
    }
    box.append(element("h3", "", "Columns"));
    const columns = element("dl");
    for (const [name, value] of Object.entries(row)) {
      if (PLAIN.includes(name)) continue;
      const told = typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
      columns.append(element("dt", "", name.replaceAll("_", " ")), marked(element("dd"), told, words));
    }
    box.append(columns);
    return box;
  };

  const card = (row, words) => {
    const made = element("details", "trace"), head = element("summary");
    head.append(element("span", "badge " + (row.verdict === "correct" ? "good" : "bad"), row.verdict));
    if (row.drop_reason !== row.verdict) {
      const kept = !row.drop_reason;
      head.append(element("span", "badge " + (kept ? "good" : "none"),
        kept ? `kept, stage ${row.stage}` : row.drop_reason.replaceAll("_", " ")));
    }
    head.append(element("span", "lead", (row.prompt || row.id).slice(0, 200)));
    made.append(head);
    // Filled when opened, so that the page stays light.
    made.addEventListener("toggle", () => {
      if (made.open && made.children.length === 1) made.append(inside(row, words));
    });
    return made;
  };

  const matches = (row, words) => (!verdict.value || row.verdict === verdict.value)
    && (!reason.value || fate(row) === reason.value)
    && (!words || Object.values(row).some((value) => String(value).toLowerCase().includes(words)));

  const draw = () => {
    const words = search.value.trim().toLowerCase();
    const found = rows.filter((row) => matches(row, words));
    list.replaceChildren(...found.slice(0, shown).map((row) => card(row, words)));
    more.hidden = found.length <= shown;
    count.textContent = `${found.length} of ${rows.length}`;
  };
  const anew = () => { shown = PAGE; draw(); };

  options(verdict, tally((row) => row.verdict));
  options(reason, tally(fate));
  for (const control of [search, verdict, reason]) control.addEventListener("input", anew);
  more.addEventListener("click", () => { shown += PAGE; draw(); });
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  draw();
})();
