// What the page does beyond showing: tables sort, filter and download, figures download, and a link opens what it leads
// to. Without scripts the page is whole, and none of these controls is there.
"use strict";
(() => {
  const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
  const FEW_ROWS = 12; // fewer are seen at a glance and need no filter
  const collator = new Intl.Collator("en", { numeric: true });

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function download(text, type, name) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  // A cell's exact values stand in its attribute, with a bar between where it shows several; else it is what it shows.
  const shown = cell => cell.textContent.trim().replace(/\s+/g, " ");
  const exact = cell => cell.dataset.value ?? shown(cell);
  const isGroup = row => row.classList.contains("group");
  const headers = table => [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const bodyRows = table => [...table.tBodies].flatMap(body => [...body.rows]).filter(row => !isGroup(row));

  // Sorting: rows stay in their group, and what has no value comes last either way.

  function sortKey(cell, numeric) {
    if (!numeric) return ["", "–"].includes(shown(cell)) ? null : shown(cell);
    const first = exact(cell).split("|")[0];
    return NUMBER.test(first) ? Number(first) : null;
  }

  function sort(table, header) {
    const column = headers(table).indexOf(header), numeric = header.classList.contains("num");
    const up = header.ariaSort !== "ascending", sign = up ? 1 : -1;
    for (const other of headers(table)) other.ariaSort = "none";
    header.ariaSort = up ? "ascending" : "descending";
    const compare = ([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : collator.compare(a, b));
    };
    for (const body of table.tBodies) {
      const keyed = [...body.rows].filter(row => !isGroup(row)).map(row => [sortKey(row.cells[column], numeric), row]);
      body.append(...keyed.sort(compare).map(([, row]) => row));
    }
  }

  function makeSortable(table) {
    for (const header of headers(table)) {
      const button = make("button", { type: "button" }, ...header.childNodes);
      header.append(button);
      header.ariaSort = "none";
      button.addEventListener("click", () => sort(table, header));
    }
  }

  // Filtering: a row stays that has all words, in any order; its group's name counts as its own.

  function makeFilter(table) {
    const rows = bodyRows(table), status = make("span", { className: "count", role: "status" });
    const input = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    const tell = left => { status.textContent = `${left} of ${rows.length} rows`; };
    const text = row => {
      const group = [...row.parentElement.rows].find(isGroup);
      return `${group ? shown(group) : ""} ${shown(row)}`.toLowerCase();
    };
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        row.hidden = !wanted.every(word => text(row).includes(word));
        left += !row.hidden;
      }
      for (const body of table.tBodies) body.hidden = ![...body.rows].some(row => !isGroup(row) && !row.hidden);
      tell(left);
    });
    tell(rows.length);
    return [make("label", {}, "Filter rows ", input), status];
  }

  // Downloading: RFC 4180. What a spreadsheet would run as a formula gets an apostrophe, unless it is a number.

  function csvField(value) {
    const safe = /^[=+\-@\t\r]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csvParts(cells, names) {
    return cells.flatMap((cell, n) => {
      const count = names[n].split("|").length;
      if (count === 1) return [exact(cell)];
      const values = exact(cell).split("|");
      return Array.from({ length: count }, (_, part) => values[part] ?? "");
    });
  }

  function csv(table, rows) {
    const names = headers(table).map(header => header.dataset.csv ?? shown(header));
    const groupNames = [...table.querySelectorAll("tbody .group [data-csv]")].slice(0, 1).map(cell => cell.dataset.csv);
    const lines = rows.map(row => {
      const group = [...row.parentElement.rows].filter(isGroup).map(name => name.querySelector("[data-csv]"));
      return csvParts([...group, ...row.cells], [...groupNames, ...names]);
    });
    const head = [...groupNames, ...names].flatMap(name => name.split("|"));
    return [head, ...lines].map(line => line.map(csvField).join(",") + "\r\n").join("");
  }

  for (const table of document.querySelectorAll("table[data-name]")) {
    const rows = bodyRows(table), button = make("button", { type: "button" }, "Download CSV");
    makeSortable(table);
    const tools = make("div", { className: "tools" }, ...(rows.length < FEW_ROWS ? [] : makeFilter(table)), button);
    button.addEventListener("click", () => download(csv(table, rows), "text/csv", `${table.dataset.name}.csv`));
    table.closest(".scroll").before(tools);
  }

  // Figures as files: the paper's colours in place of the page's, and a size of their own.

  function svgFile(figure) {
    const drawing = figure.querySelector("svg").cloneNode(true), box = drawing.getAttribute("viewBox").split(" ");
    drawing.setAttribute("width", `${box[2]}pt`);
    drawing.setAttribute("height", `${box[3]}pt`);
    return new XMLSerializer().serializeToString(drawing).replace(/var\(--[\w-]+, (#\w+)\)/g, "$1");
  }

  for (const figure of document.querySelectorAll("figure[data-name]")) {
    const button = make("button", { type: "button" }, "Download SVG"), name = `${figure.dataset.name}.svg`;
    button.addEventListener("click", () => download(svgFile(figure), "image/svg+xml", name));
    figure.querySelector("figcaption details").append(make("div", { className: "tools" }, button));
  }

  // Links: what is folded up opens, and of a row of pictures the same row of the edit's other probes lights up too.

  function reveal() {
    for (const row of document.querySelectorAll(".lit")) row.classList.remove("lit");
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    if (target.dataset.row) {
      for (const row of target.closest("details").querySelectorAll("[data-row]")) {
        row.classList.toggle("lit", row.dataset.row === target.dataset.row);
      }
    }
    (target.closest(".probes > div") ?? target).scrollIntoView();
    target.querySelector(":scope > summary")?.focus({ preventScroll: true });
  }

  addEventListener("hashchange", reveal);
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) reveal();
  });
  reveal();
})();
