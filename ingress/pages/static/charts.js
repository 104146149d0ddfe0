// Draws every `.vega` by the specification that lies in it as JSON, in the colours of the page. Expressions are
// interpreted and not compiled, as the page may evaluate no code.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");
const LEGIBLE = 0.7;  // of its size: smaller, and its figures cannot be read

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const ink = getComputedStyle(document.body).color;
  return {
    background: "transparent",
    view: { stroke: of("--line") },
    font: "system-ui, sans-serif",
    title: { color: ink, subtitleColor: of("--dim") },
    axis: { labelColor: of("--dim"), titleColor: of("--dim"), gridColor: of("--line"), domainColor: of("--line"), tickColor: of("--line") },
    legend: { labelColor: ink, titleColor: of("--dim") },
    text: { color: ink },
    header: { labelColor: ink, titleColor: of("--dim") },
  };
}

// On a phone: the bars beneath the matrix, with the names that they share with it when they stand beside it.
function stacked(spec) {
  if (!narrow.matches || !spec.hconcat) return spec;
  const { hconcat: [matrix, ...beside], ...rest } = spec;
  const above = JSON.parse(JSON.stringify(matrix), (name, value) => (name === "legend" && value?.orient === "left" ? { ...value, orient: "top" } : value));
  const beneath = JSON.parse(JSON.stringify(beside), (name, value) => (name === "y" && value?.axis === null ? { ...value, axis: {}, title: null } : value));
  return { ...rest, vconcat: [above, ...beneath] };
}

async function draw(place) {
  try {
    place.spec ??= JSON.parse(place.querySelector("script").textContent);
    const spec = { ...stacked(place.spec), background: "transparent" };
    const tooltip = { disableDefaultStyle: true };
    const picture = place.querySelector(".picture") ?? place.appendChild(document.createElement("div"));
    picture.className = "picture";
    await vegaEmbed(picture, spec, { actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip, config: colours() });
    const svg = picture.querySelector("svg");
    if (place.classList.contains("fixed") && svg) svg.style.minWidth = `${LEGIBLE * svg.viewBox.baseVal.width}px`;
  } catch (error) {
    place.textContent = `The chart cannot be drawn: ${error.message}`;
  }
}

function drawAll() {
  document.querySelectorAll(".vega").forEach(draw);
}

dark.addEventListener("change", drawAll);
narrow.addEventListener("change", drawAll);
drawAll();
