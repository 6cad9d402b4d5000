const grid = document.querySelector(".grid");
const orders = {
  best: (a, b) => b.dataset.score - a.dataset.score,
  worst: (a, b) => a.dataset.score - b.dataset.score,
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, {numeric: true}),
};
for (const button of document.querySelectorAll("[data-order]")) {
  button.addEventListener("click", () => {
    grid.append(...[...grid.children].sort(orders[button.dataset.order]));
    for (const other of document.querySelectorAll("[data-order]")) {
      other.setAttribute("aria-pressed", other === button);
    }
  });
}
const copy = document.querySelector("#copy"), names = document.querySelector("#names");
function ticked() {
  return [...grid.children].filter((figure) => figure.querySelector("input").checked);
}
function count() {
  copy.disabled = !ticked().length;
  copy.textContent = copy.disabled ? "Copy the ticked names" : `Copy the names (${ticked().length})`;
}
grid.addEventListener("change", count);
addEventListener("pageshow", count);  // a browser may keep the ticks of a page that is loaded again
copy.addEventListener("click", () => {
  names.value = ticked().map((figure) => figure.dataset.name).join("\n");
  names.hidden = false;
  names.select();
  // Unlike navigator.clipboard, this also works in a page from a disk or from http.
  copy.textContent = document.execCommand("copy") ? "Copied" : "Copy the names below";
});
