"use strict";
// Slider, error maps and the large view. Uses no network and no storage; all figures are readable without it.
const colours = JSON.parse(document.body.dataset.heat);
const dialog = document.querySelector("dialog");
const frame = dialog.querySelector(".frame");
const examples = [...document.querySelectorAll(".example[data-width]")];
let shown = null; // {figure, spot}: the figure in the dialog, and its place in the gallery

for (const cut of document.querySelectorAll(".cut")) {
  const follow = () => cut.closest(".view").style.setProperty("--cut", cut.value + "%");
  cut.addEventListener("input", follow);
  follow(); // browsers may restore its value
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const data = button.dataset;
  if (data.show) show(button.closest(".example"), button);
  else if (button.classList.contains("open")) open(button.closest(".example"));
  else if (data.zoom) zoom(data.zoom);
  else if (data.step) step(Number(data.step));
  else if ("close" in data) dialog.close();
});

dialog.addEventListener("close", putBack);
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "n") step(1);
  if (key === "p") step(-1);
});
addEventListener("resize", () => shown && zoom("fit"));

async function show(figure, button) {
  for (const other of figure.querySelectorAll("[data-show]")) {
    other.setAttribute("aria-pressed", String(other === button));
  }
  const layer = figure.querySelector(".heat");
  const key = figure.querySelector(".key");
  const what = button.dataset.show;
  figure.classList.toggle("side", what === "side");
  const isMap = what !== "slider" && what !== "side";
  if (layer) layer.hidden = key.hidden = !isMap;
  if (shown && shown.figure === figure) zoom("fit");
  if (!isMap) return;
  const map = what === "error" ? await errorMap(button) : await changeMap(figure);
  const about = key.querySelector(".about");
  about.textContent = about.dataset[what];
  key.querySelector(".max").textContent = map.max;
  map.canvas.setAttribute("role", "img");
  map.canvas.setAttribute("aria-label", about.textContent);
  layer.replaceChildren(map.canvas);
}

// Side by side, dragging or the arrow keys move all images together.
frame.addEventListener("pointermove", (event) => {
  if (event.buttons & 1 && shown) pan(event.movementX, event.movementY);
});
frame.addEventListener("keydown", (event) => {
  const [x, y] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] || [];
  if (x === undefined || !shown || !shown.figure.classList.contains("side")) return;
  event.preventDefault();
  pan(x * 40, y * 40);
});

function visibleLayers() {
  return [...shown.figure.querySelectorAll(".layer:not(.heat)")];
}

function pan(x, y) {
  if (!shown.figure.classList.contains("side")) return;
  const view = shown.figure.querySelector(".view");
  const box = visibleLayers()[0].getBoundingClientRect();
  const image = visibleLayers()[0].querySelector("img").getBoundingClientRect();
  const move = (name, by, hidden) => {
    if (hidden <= 0) return;
    const now = Number(view.style.getPropertyValue(name)) - by / hidden;
    view.style.setProperty(name, Math.min(1, Math.max(0, now)).toFixed(4));
  };
  move("--x", x, image.width - box.width);
  move("--y", y, image.height - box.height);
}

async function errorMap(button) {
  const image = new Image();
  image.src = button.dataset.map;
  await image.decode();
  const pixels = pixelsOf(image);
  const levels = new Float32Array(pixels.data.length / 4);
  for (let i = 0; i < levels.length; i++) levels[i] = pixels.data[4 * i];
  return { canvas: paint(levels, 255, pixels), max: Number(button.dataset.max) };
}

async function changeMap(figure) {
  const [before, after] = await Promise.all([".before", ".after"].map(async (name) => {
    const image = figure.querySelector(name);
    await image.decode();
    return pixelsOf(image);
  }));
  const levels = new Float32Array(before.data.length / 4);
  for (let i = 0; i < levels.length; i++) levels[i] = Math.abs(luma(after, i) - luma(before, i));
  const sorted = levels.slice().sort();
  const max = Math.max(4, Math.ceil(sorted[Math.floor(0.995 * (sorted.length - 1))]));
  return { canvas: paint(levels, max, before), max };
}

function luma(pixels, i) {
  const [r, g, b] = pixels.data.subarray(4 * i, 4 * i + 3);
  return (65.481 * r + 128.553 * g + 24.966 * b) / 255;
}

function pixelsOf(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function paint(levels, max, like) {
  const canvas = document.createElement("canvas");
  canvas.width = like.width;
  canvas.height = like.height;
  const context = canvas.getContext("2d");
  const painted = context.createImageData(like.width, like.height);
  levels.forEach((level, i) => {
    const colour = colours[Math.min(255, Math.round((level / max) * 255))];
    painted.data.set([...colour, 255], 4 * i);
  });
  context.putImageData(painted, 0, 0);
  return canvas;
}

function open(figure) {
  putBack();
  shown = { figure, spot: document.createElement("div") };
  figure.replaceWith(shown.spot);
  frame.replaceChildren(figure);
  if (!dialog.open) dialog.showModal();
  zoom("fit");
  (figure.querySelector(figure.classList.contains("side") ? ".view" : ".cut") || dialog).focus();
}

function putBack() {
  if (!shown) return;
  const { figure, spot } = shown;
  shown = null;
  const view = figure.querySelector(".view");
  view.style.removeProperty("--zoom");
  view.classList.remove("large");
  spot.replaceWith(figure);
  const opener = figure.querySelector(".open");
  if (opener) opener.focus();
}

function step(by) {
  if (!shown) return;
  const openable = examples.filter((figure) => figure.querySelector(".open"));
  const next = openable[(openable.indexOf(shown.figure) + by + openable.length) % openable.length];
  if (next) open(next);
}

function zoom(wanted) {
  const stage = frame.querySelector(".stage");
  const { width, height } = shown.figure.dataset;
  const isSide = shown.figure.classList.contains("side");
  const columns = isSide && stage.clientWidth > stage.clientHeight ? visibleLayers().length : 1;
  const rows = isSide ? visibleLayers().length / columns : 1;
  const fit = Math.min(stage.clientWidth / columns / width, stage.clientHeight / rows / height);
  const factor = wanted === "fit" ? Math.min(fit, 4) : Number(wanted);
  const view = stage.querySelector(".view");
  view.style.setProperty("--zoom", factor);
  view.classList.toggle("large", factor >= 2);
  for (const button of dialog.querySelectorAll("[data-zoom]")) {
    button.setAttribute("aria-pressed", String(button.dataset.zoom === String(wanted)));
  }
}
