// Which texts are too close in colour to what is behind them, by the WCAG's formula; texts on pictures are passed over.
() => {
  const [LARGE_PX, LARGE_BOLD_PX, BOLD, OF_LARGE, OF_OTHERS] = [24, 18.66, 700, 3, 4.5];
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parsed = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], under) => [...[r, g, b].map((c, place) => c * a + under[place] * (1 - a)), 1];
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const around = (one) => (one ? [one, ...around(one.parentElement)] : []);
  const canvasColour = parsed(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#fff");
  const behind = (one) => {
    const layers = [];
    for (const each of around(one)) {
      const style = getComputedStyle(each);
      if (style.backgroundImage !== "none") return null;
      layers.push(parsed(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((under, layer) => over(layer, under), canvasColour);
  };
  const rgb = (colour) => `rgb(${colour.slice(0, 3).map(Math.round).join(" ")})`;
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const one = node.parentElement;
    if (!node.data.trim() || one.closest("svg, script, style, noscript, option, .skip, [disabled]")) continue;
    if (!one.checkVisibility({ visibilityProperty: true })) continue;
    const ground = behind(one);
    if (ground === null) continue;
    const style = getComputedStyle(one);
    const [r, g, b, a] = parsed(style.color);
    const seen = around(one).reduce((all, each) => all * Number(getComputedStyle(each).opacity), a);
    const ink = over([r, g, b, seen], ground);
    const [high, low] = [light(ink), light(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= LARGE_PX || (size >= LARGE_BOLD_PX && Number(style.fontWeight) >= BOLD);
    const [ratio, least] = [(high + 0.05) / (low + 0.05), large ? OF_LARGE : OF_OTHERS];
    if (ratio < least) {
      const colours = `${rgb(ink)} on ${rgb(ground)} is ${ratio.toFixed(2)}, ${least} is needed`;
      found.set(colours, `${colours}: <${one.tagName.toLowerCase()} class="${one.className}"> ${node.data.trim().slice(0, 40)}`);
    }
  }
  return [...found.values()];
};
