// Where the keyboard is: the number of that stop, whether a ring is around it, and whether it can be seen.
() => {
  const what = (one) => {
    const said = (one.textContent || one.name || one.ariaLabel || "").trim().slice(0, 60);
    return `<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}"> ${said}`;
  };
  const one = document.activeElement;
  if (!one || one === document.body || one === document.documentElement) return null;
  const style = getComputedStyle(one);
  const ringed = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  const boxes = [...one.getClientRects()];
  const seen = boxes.some((box) => {
    const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
    const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
    const there = left < right && top < bottom && document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    return Boolean(there) && (one.contains(there) || there.contains(one));
  });
  return { stop: one.stop ?? null, ringed, seen, what: what(one) };
};
