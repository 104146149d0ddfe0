// Draws every `.vega` by the specification that lies in it as JSON, in the colours of the page. Expressions are
// interpreted and not compiled, as the page may evaluate no code.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");

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

async function draw(place) {
  try {
    place.spec ??= JSON.parse(place.querySelector("script").textContent);
    const spec = { ...place.spec, background: "transparent" };
    const tooltip = { disableDefaultStyle: true };
    const picture = place.querySelector(".picture") ?? place.appendChild(document.createElement("div"));
    picture.className = "picture";
    await vegaEmbed(picture, spec, { actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip, config: colours() });
  } catch (error) {
    place.textContent = `The chart cannot be drawn: ${error.message}`;
  }
}

function drawAll() {
  document.querySelectorAll(".vega").forEach(draw);
}

dark.addEventListener("change", drawAll);
drawAll();
