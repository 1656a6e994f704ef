"use strict";
// tables of more than two rows are sorted by a click on a column's name
for (const table of document.querySelectorAll("table:not(.prose)")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    let down = false;
    button.addEventListener("click", () => {
      const sign = down ? -1 : 1;
      down = !down;
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent.replace("−", "-");
      const rows = [...body.rows].sort((a, b) => {
        const first = parseFloat(text(a)), second = parseFloat(text(b));
        if (isNaN(first) && isNaN(second)) return sign * text(a).localeCompare(text(b));
        // what has no number stays below
        if (isNaN(first) || isNaN(second)) return isNaN(first) ? 1 : -1;
        return sign * (first - second);
      });
      body.append(...rows);
    });
  });
}
