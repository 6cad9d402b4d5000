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
