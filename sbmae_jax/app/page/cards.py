"""A card of the page: the switch of a modality, its input, and the buttons that fill it."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from sbmae_jax.app.page.inputs import MAX_CHARACTERS, MAX_SLIDERS, Control, hint_of

_FEW = 5  # options that are shown side by side; more are a list
_FOLDER = Path(__file__).parent


class Card:
    """The part of the page that gives one modality.

    Attributes:
        control: What is given, and how.
        switch: "generate" or "given".
        parts: The components that hold the value of the control.
    """

    def __init__(self, control: Control):
        self.control = control
        with gr.Column(elem_classes="sb-card", elem_id=f"card-{control.name}", min_width=190):
            self.switch = gr.Radio(
                ["generate", "given"], value="generate", label=f"{control.name} ({control.kind})",
                elem_classes="sb-switch",
            )  # fmt: skip
            with gr.Column(elem_classes="sb-input"):
                self.parts = _components_of(control)
            with gr.Row(elem_classes="sb-tools"):
                self._example = gr.Button("Example", size="sm", min_width=60)
                self._upload = None
                if control.files:
                    self._upload = gr.UploadButton(
                        "Upload", size="sm", min_width=60, file_types=list(control.files)
                    )

    def connect(self, handlers: Any, quick: dict[str, Any]) -> None:
        """Let the card answer: whatever a visitor enters is then given."""
        outputs = [self.switch, *self.parts]
        example, upload = (partial(f, self.control) for f in (handlers.example, handlers.upload))
        self._example.click(example, None, outputs, **quick)
        if self._upload is not None:
            self._upload.upload(upload, self._upload, outputs, **quick)
        for part in self.parts:
            if hasattr(part, "input"):
                part.input(None, None, self.switch, js="() => 'given'")

    @staticmethod
    def num_parts(control: Control) -> int:
        """Return how many components hold the value of a control."""
        return len(control.names) if _has_sliders(control) else 1

    @staticmethod
    def value_of(control: Control, parts: list[Any]) -> Any:
        """Return the value of a control from those of its components."""
        if _has_sliders(control):
            return parts
        if control.widget == "numbers":
            return [row[1] for row in parts[0]]
        return parts[0]

    @staticmethod
    def updates(control: Control, value: Any) -> list[Any]:
        """Return the values of the components from that of a control."""
        if _has_sliders(control):
            return list(value)
        if control.widget == "numbers":
            return [[[name, number] for name, number in zip(control.names, value, strict=True)]]
        return [value]


def _has_sliders(control: Control) -> bool:
    return control.widget == "numbers" and len(control.names) <= MAX_SLIDERS


def _components_of(control: Control) -> list[Any]:
    """Return the components that hold the value of a control, with its first value."""
    label, first = control.name, control.first
    if control.widget in ("picture", "curve"):
        return [_drawing(control)]
    if _has_sliders(control):
        whole = control.scaling is not None and control.scaling.value_kind.is_integer
        return [
            gr.Slider(float(low), float(high), value, step=1 if whole else None, label=name)
            for name, low, high, value in zip(
                control.names, control.low, control.high, first, strict=True
            )
        ]
    if control.widget == "numbers":
        (rows,) = Card.updates(control, first)
        return [
            gr.Dataframe(
                rows, headers=["name", "value"], datatype=["str", "number"], type="array",
                interactive=True, static_columns=[0], max_height=260, show_label=False,
            )
        ]  # fmt: skip
    if control.widget == "checks":
        return [gr.CheckboxGroup(list(control.names), value=first, label=label, show_label=False)]
    if control.widget == "choice" and len(control.names) <= _FEW:
        return [gr.Radio(list(control.names), value=first, label=label, show_label=False)]
    if control.widget == "choice":
        return [gr.Dropdown(list(control.names), value=first, label=label, show_label=False)]
    if control.widget == "text":
        return [
            gr.Textbox(
                first, label=label, show_label=False, lines=2, max_length=MAX_CHARACTERS,
                placeholder=hint_of(control),
            )
        ]  # fmt: skip
    return [gr.State(first)]


def _drawing(control: Control) -> gr.HTML:
    """Return a picture or a curve to draw on."""
    template = (_FOLDER / f"{control.widget}.html").read_text()
    script = (_FOLDER / f"{control.widget}.js").read_text()
    palette = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in control.palette]
    return gr.HTML(
        control.first, html_template=template, js_on_load=script, name=control.name,
        label=control.name, apply_default_css=False, palette=palette,
    )  # fmt: skip
