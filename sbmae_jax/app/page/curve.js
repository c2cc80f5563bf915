// Curves of numbers in [0, 1], one for each channel; drawing changes the nearest one.
const svg = element.querySelector("svg");
let curves = [], chosen = -1, last = null;

const paint = () => {
  svg.replaceChildren(...curves.map((curve, number) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("class", `sb-line-${number % 4}`);
    line.setAttribute("points", curve.map((y, i) => `${120 * i / Math.max(curve.length - 1, 1)},${60 * (1 - y)}`).join(" "));
    return line;
  }));
};
const show = () => {
  if (chosen >= 0 || !Array.isArray(props.value)) return;
  curves = props.value.map(curve => [...curve]);
  paint();
};
const place = event => {
  const box = svg.getBoundingClientRect(), clip = x => Math.min(1, Math.max(0, x));
  return [clip((event.clientX - box.left) / box.width), clip(1 - (event.clientY - box.top) / box.height)];
};
const draw = event => {
  const [x, y] = place(event), curve = curves[chosen], i = Math.round(x * (curve.length - 1));
  const [from, start] = last || [i, y];
  for (let j = Math.min(i, from); j <= Math.max(i, from); j++)
    curve[j] = i === from ? y : start + (y - start) * (j - from) / (i - from);
  last = [i, y];
  paint();
};
svg.addEventListener("pointerdown", event => {
  event.preventDefault();
  svg.setPointerCapture(event.pointerId);
  const [x, y] = place(event);
  const away = curves.map(curve => Math.abs(curve[Math.round(x * (curve.length - 1))] - y));
  chosen = away.indexOf(Math.min(...away));
  last = null;
  draw(event);
});
svg.addEventListener("pointermove", event => { if (chosen >= 0) draw(event); });
for (const end of ["pointerup", "pointercancel"])
  svg.addEventListener(end, () => {
    if (chosen < 0) return;
    chosen = -1;
    props.value = curves.map(curve => [...curve]);
    trigger("input");
  });
watch("value", show);
show();
