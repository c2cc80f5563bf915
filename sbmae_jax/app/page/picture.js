// A canvas of the model's own pixels. The value is what it shows, as a PNG.
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true});
const [colour, width] = element.querySelectorAll("input"), undo = element.querySelector(".sb-undo");
let last = null, held = null, before = [];

const show = (fresh = true) => {
  const value = props.value;
  if (!value || value === held) return;
  held = value;
  if (fresh) before = [];
  const image = new Image();
  image.onload = () => {
    canvas.width = image.width;
    canvas.height = image.height;
    pen.drawImage(image, 0, 0);
    if (fresh) contrast();
  };
  image.src = value;
};

// The brush begins as what is seen best on the picture: white where it is dark, black where it is bright.
const contrast = () => {
  const {data} = pen.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
  colour.value = sum / (0.75 * data.length) < 128 ? "#ffffff" : "#000000";
};

// Classes of pixels have colours of their own.
for (const [number, value] of (props.palette || []).entries()) {
  const swatch = document.createElement("button");
  Object.assign(swatch, {type: "button", title: `Class ${number + 1}`, ariaLabel: `Class ${number + 1}`});
  swatch.style.background = value;
  swatch.addEventListener("click", () => { colour.value = value; });
  element.querySelector(".sb-palette").append(swatch);
}

const keep = () => {
  held = canvas.toDataURL("image/png");
  props.value = held;
  trigger("input");
};

const stroke = event => {
  const box = canvas.getBoundingClientRect();
  const here = [
    (event.clientX - box.left) * canvas.width / box.width,
    (event.clientY - box.top) * canvas.height / box.height,
  ];
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = Math.max(1, canvas.width * width.value / 100);
  pen.strokeStyle = colour.value;
  pen.beginPath();
  pen.moveTo(...(last || here));
  pen.lineTo(...here);
  pen.stroke();
  last = here;
};

canvas.addEventListener("pointerdown", event => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  before.push(canvas.toDataURL("image/png"));
  last = null;
  stroke(event);
});
canvas.addEventListener("pointermove", event => { if (last) stroke(event); });
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, () => { if (last) { last = null; keep(); } });
undo.addEventListener("click", () => {
  const value = before.pop();
  if (!value) return;
  props.value = value;
  show(false);
  trigger("input");
});
watch("value", () => show());
show();
