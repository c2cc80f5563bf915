"""The page itself, built on Gradio: cards of inputs, settings, and what was generated.

Nothing is shared between visitors but the model, what is compiled, and a pool of samples that is drawn once.
What a visitor has set travels with each request.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.themes import Soft

from sbmae_jax._io import write_npz
from sbmae_jax.app.page.cards import Card
from sbmae_jax.app.page.inputs import Control, controls_of
from sbmae_jax.app.page.player import MAX_SAMPLES, MAX_WEIGHT, Dials, Player
from sbmae_jax.app.page.show import moves_html, results_html
from sbmae_jax.app.page.state import State, as_query, from_query
from sbmae_jax.app.page.uploads import MAX_BYTES
from sbmae_jax.models.model import Model

_POOL = 32  # samples from nothing, for examples and the ranges of sliders
_FOLDER = Path(__file__).parent
_MODEL = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
_QUICK: dict[str, Any] = {
    "concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private",
}  # fmt: skip
_PROGRESS = gr.Progress()  # Gradio makes one for each request in its place
_HEAD = (
    "Each card is a modality. Draw, choose or upload what you know, and generate the rest; or give "
    "nothing, and generate everything."
)


def serve(model: Model, entries: Mapping[str, Sequence[str]], title: str, port: int) -> None:
    """Serve the page of a model on this machine alone, until it is interrupted.

    Args:
        model: A trained model.
        entries: The names of the entries of vectors, where they have names.
        title: What the page is called.
        port: Where to listen; 0 takes the first free one from 7860.
    """
    with tempfile.TemporaryDirectory(prefix="sbmae-app-") as folder:
        print("compiling, which takes some seconds", flush=True)
        page = make_page(model, entries, title, folder)
        launch(page, port)
        print(f"the page is at {page.local_url} (Ctrl+C ends it)", flush=True)
        page.block_thread()


def launch(page: gr.Blocks, port: int) -> None:
    """Start to serve a page; nothing but this machine can reach it, and it reaches nothing else."""
    page.launch(
        server_name="127.0.0.1", server_port=port or None, share=False, inbrowser=False, quiet=True,
        prevent_thread_lock=True, show_error=True, footer_links=[], run_history=False,
        max_file_size=MAX_BYTES, allowed_paths=[], enable_monitoring=False, ssr_mode=False,
        mcp_server=False, pwa=False, css_paths=[_FOLDER / "page.css"],
        theme=Soft(
            primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
    )  # fmt: skip


def make_page(
    model: Model, entries: Mapping[str, Sequence[str]], title: str, folder: str
) -> gr.Blocks:
    """Return the page of a model, and compile what it needs first.

    Args:
        model: A trained model.
        entries: The names of the entries of vectors, where they have names.
        title: What the page is called.
        folder: A folder for uploads and downloads, the only one that is read.
    """
    os.environ["GRADIO_TEMP_DIR"] = folder
    player = Player(model)
    pool = _draw_pool(player)
    handlers = _Handlers(player, controls_of(model, entries, pool), pool, Path(folder))
    options = {"analytics_enabled": False, "fill_width": True, "delete_cache": (600, 3600)}
    with gr.Blocks(title=title, **options) as page:
        gr.HTML(f"<h1>{escape(title)}</h1><p>{_HEAD}</p>", elem_classes="sb-head")
        with gr.Row(elem_classes="sb-cards"):
            cards = [Card(control) for control in handlers.controls]
        dials = _make_dials(player)
        with gr.Row(elem_classes="sb-buttons"):
            go = gr.Button("Generate", variant="primary", elem_id="generate")
            new_seed = gr.Button("New seed", elem_id="new-seed")
            nothing = gr.Button("Sample from nothing", elem_id="nothing")
            move = gr.Button("What moves what?", elem_id="moves")
        results = gr.HTML(elem_id="results", min_height=120)
        moved = gr.HTML(elem_id="moved")
        with gr.Row(elem_classes="sb-buttons"):
            download = gr.DownloadButton("Download samples", size="sm", elem_id="download")
            copy = gr.Button("Copy the link of this state", size="sm", elem_id="link")
        query = gr.Textbox(visible=False)

        inputs = [*dials, *(part for card in cards for part in (card.switch, *card.parts))]
        outputs = [results, moved, download, query]
        to_bar: dict[str, Any] = {
            "fn": None, "inputs": [query],
            "js": "query => { if (query) history.replaceState(null, '', query); }",
        }  # fmt: skip
        options = _MODEL | {"inputs": inputs, "outputs": outputs}

        def generate_after(event: Any) -> None:
            event(handlers.generate, **options, show_progress_on=[results]).then(**to_bar)

        generate_after(go.click)
        switches = [card.switch for card in cards]
        all_off = f"() => {['generate'] * len(cards) if len(cards) > 1 else 'generate'!r}"
        emptied = nothing.click(None, None, switches, js=all_off)
        generate_after(emptied.then)
        move.click(handlers.moves, inputs, moved, **_MODEL)
        read_bar = "() => [window.location.search]"
        restored = page.load(handlers.restore, query, inputs, js=read_bar, **_QUICK)
        generate_after(restored.then)
        random = "() => Math.floor(Math.random() * 2 ** 32)"
        generate_after(new_seed.click(None, None, dials[1], js=random).then)
        copy.click(
            None, None, None,
            js="() => navigator.clipboard.writeText(window.location.href)",
        )  # fmt: skip
        for card in cards:
            card.connect(handlers, _QUICK)
    for block in page.blocks.values():
        fetch_nothing(block)
    return page


def fetch_nothing(block: Any) -> None:
    """Let a component refuse addresses in the place of files, which Gradio would download.

    Args:
        block: A component of the page. Requests that are written by hand may name an address in any of them.
    """
    keep = block.async_move_resource_to_block_cache

    async def keep_file(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gr.Error("an address is not fetched: upload a file", print_exception=False)
        return await keep(path)

    block.async_move_resource_to_block_cache = keep_file  # of this page, not of all of Gradio


class _Handlers:
    """What the page does on events. All that depends on the visitor is an argument."""

    def __init__(
        self, player: Player, controls: tuple[Control, ...], pool: Mapping[str, np.ndarray],
        folder: Path,
    ):  # fmt: skip
        self.player, self.controls, self._pool, self._folder = player, controls, pool, folder

    def read(self, values: Sequence[Any]) -> State:
        """Return the state of a page from the values of all of its inputs."""
        numbers, rest = values[:5], list(values[5:])
        if any(isinstance(number, bool | str | None) for number in numbers):
            raise ValueError("write a number for each setting")
        samples, seed, temperature, classifier_free, guidance = numbers
        dials = Dials(
            num_samples=int(samples), seed=int(seed), temperature=float(temperature),
            classifier_free=float(classifier_free), guidance=float(guidance),
        )  # fmt: skip
        given = {}
        for control in self.controls:
            num = Card.num_parts(control)
            switch, parts, rest = rest[0], rest[1 : 1 + num], rest[1 + num :]
            if switch == "given":
                given[control.name] = Card.value_of(control, parts)
        return State(given=given, dials=dials)

    def generate(self, *values: Any, progress: gr.Progress = _PROGRESS) -> list[Any]:
        """Generate what is not given."""

        @_refusing
        def run() -> list[Any]:
            state = self.read(values)
            examples = state.examples(self.controls)
            for control in self.controls:
                notice = control.notice(examples[control.name]) if control.name in examples else ""
                if notice:
                    gr.Warning(notice)
            if self.player.needs_compiling(state.dials):
                progress(0, desc="Compiling, once for this number of samples")
            made = self.player.generate(examples, state.dials)
            return [
                results_html(self.controls, made, tuple(examples)), "", self._written(made),
                _query_of(state),
            ]  # fmt: skip

        return run()

    def moves(self, *values: Any, progress: gr.Progress = _PROGRESS) -> str:
        """Measure which of what is given moves which of what is generated."""

        @_refusing
        def run() -> str:
            state = self.read(values)
            progress(0, desc="Generating again without each of those given")
            return moves_html(self.player.moves(state.examples(self.controls), state.dials))

        return run()

    def restore(self, query: str) -> list[Any]:
        """Return the values of all inputs as a link says."""
        state = State(dials=self.player.first_dials())
        try:
            names = [control.name for control in self.controls]
            found = from_query(query or "", names, state.dials)
            found.examples(self.controls)  # refuses values that do not fit
            state = found
        except (TypeError, ValueError) as error:
            gr.Warning(str(error), title="The link was not restored")
        updates: list[Any] = list(_numbers_of(state.dials))
        for control in self.controls:
            is_given = control.name in state.given
            value = state.given[control.name] if is_given else control.first
            updates += ["given" if is_given else "generate", *Card.updates(control, value)]
        return updates

    def example(self, control: Control) -> list[Any]:
        """Return the values of a card for one of the samples that were drawn at the start."""
        samples = self._pool[control.name]
        number = np.random.default_rng().integers(len(samples))
        return ["given", *Card.updates(control, control.show(samples[number]))]

    def upload(self, control: Control, path: str) -> list[Any]:
        """Return the values of a card for an uploaded file."""
        return _refusing(lambda: ["given", *Card.updates(control, control.read_file(path))])()

    def _written(self, made: Mapping[str, np.ndarray]) -> str:
        """Write samples to a file of their own, and return its path."""
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        with (folder / "samples.npz").open("wb") as file:
            write_npz(file, made, compressed=True)
        return str(folder / "samples.npz")


def _make_dials(player: Player) -> list[Any]:
    """Make the settings, in the order of `_numbers_of`."""
    samples, seed, temperature, classifier_free, guidance = _numbers_of(player.first_dials())
    with gr.Row(elem_classes="sb-dials"):
        dials = [
            gr.Slider(
                1, MAX_SAMPLES, samples, step=1, label="Samples", elem_id="samples", buttons=[],
                info="Of each modality, side by side.",
            ),
            gr.Number(
                seed, precision=0, minimum=0, maximum=2**32 - 1, label="Seed", elem_id="seed",
                info="The same seed, the same samples.",
            ),
            gr.Slider(
                0, 1, temperature, step=0.05, label="Temperature", elem_id="temperature", buttons=[],
                info="Less is more coherent.", visible=player.has_temperature,
            ),
            gr.Slider(
                0, MAX_WEIGHT, classifier_free, step=0.25, label="Guidance", elem_id="guidance",
                info="Weight of what is given.", visible=player.has_classifier_free,
                buttons=[],
            ),
            gr.Slider(
                0, MAX_WEIGHT, guidance, step=0.25, label="Energy", elem_id="energy", buttons=[],
                info="Weight of the energy.", visible=player.has_guidance,
            ),
        ]  # fmt: skip
    return dials


def _numbers_of(dials: Dials) -> tuple[int, int, float, float, float]:
    """Return settings in the order of the page."""
    return (
        dials.num_samples, dials.seed, dials.temperature, dials.classifier_free, dials.guidance,
    )  # fmt: skip


def _draw_pool(player: Player) -> dict[str, np.ndarray]:
    """Draw samples from nothing, as many at once as the page does first."""
    dials = player.first_dials()
    draws = [
        player.generate({}, Dials(**{**vars(dials), "seed": seed}))
        for seed in range(_POOL // dials.num_samples)
    ]
    return {name: np.concatenate([draw[name] for draw in draws]) for name in draws[0]}


def _query_of(state: State) -> str:
    """Return the link of a state, or none if it is too large."""
    try:
        return as_query(state)
    except ValueError:
        gr.Info("What is given is too large for a link: the address does not hold it.")
        return "?"


def _refusing(run: Callable[..., Any]) -> Callable[..., Any]:
    """Show what a visitor can correct as a message."""

    @wraps(run)
    def tell(*args: Any) -> Any:
        try:
            return run(*args)
        except ValueError as error:
            raise gr.Error(str(error), title="That does not fit", print_exception=False) from None

    return tell
