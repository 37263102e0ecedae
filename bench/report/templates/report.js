"use strict";
/* Tables are sorted by the buttons that this puts into their heads; without it the page is whole, in the order of its ranks.
   Rows stay within their group: what promises different things is never sorted together. */
(() => {
  const scale = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9 };
  const value = (cell) => {
    const text = cell.textContent.trim();
    const found = /^(?:>=|<|n = )?\s*(-?[\d,]+(?:\.\d+)?)\s*(ns|µs|ms|s(?=\s|$)|%|×)?/.exec(text);
    if (text === "best") return 1;
    return found ? Number(found[1].replaceAll(",", "")) * (scale[found[2]] ?? 1) : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en");
  };
  const empty = (v) => v === "" || v === "n/a" || v === "–";
  const sort = (table, column, descending) => {
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => row.cells.length > 1);
      const keyed = rows.map((row, i) => ({ row, i, v: value(row.cells[column]) }));
      keyed.sort((a, b) => empty(a.v) - empty(b.v) || (descending ? -1 : 1) * compare(a.v, b.v) || a.i - b.i);
      body.append(...keyed.map((one) => one.row));
    }
  };
  const prepare = (table) => {
    if (!table.tHead || ![...table.tBodies].some((body) => [...body.rows].filter((row) => row.cells.length > 1).length > 1)) return;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, descending);
      });
    });
  };
  for (const table of document.querySelectorAll("table")) prepare(table);
  /* A link into what is folded opens it. */
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
