// Where the keyboard is: the number of that stop, whether a ring is around it, and whether it can be seen.
() => {
  const what = (one) => {
    const said = (one.textContent || one.name || one.ariaLabel || "").trim().slice(0, 60);
    return `<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}"> ${said}`;
  };
  const one = document.activeElement;
  if (!one || one === document.body || one === document.documentElement) return null;
  const style = getComputedStyle(one);
  const dated = one.matches("input[type=date]"); // of which the browser marks the part that is typed into
  const ringed =
    dated || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  const boxes = [...one.getClientRects()];
  const seen = boxes.some((box) => {
    const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
    const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
    if (left >= right || top >= bottom) return false;
    const places = [left + 3, (left + right) / 2, right - 3]; // what is cut off is seen in part
    const there = places.map((x) => document.elementFromPoint(x, (top + bottom) / 2));
    return there.some((each) => each && (one.contains(each) || each.contains(one)));
  });
  return { stop: one.stop ?? null, ringed, seen, what: what(one) };
};
