"""A trained model from wherever it is kept: a saved model, a run's folder, or the Hugging Face Hub."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sbmae_jax._extras import require_extra
from sbmae_jax._io import as_path, one_line
from sbmae_jax.models.model import Model
from sbmae_jax.models.saved import DOCUMENT, TENSORS, is_saved_model, load_saved

HUB = "hf://"
SMALL = "polydigits-small"
"""The name of a small model of PolyDigits, which is installed with the package."""

SHIPPED = {SMALL: Path(__file__).parents[1] / "shipped" / "polydigits-small.safetensors"}
"""The models that are installed with the package, and their files."""


def load(
    path: str | Path, *, classes: Sequence[type] = (), coders: Mapping[str, Any] | None = None
) -> Model:
    """Load a model that was saved, or that of a run whose trainings are finished.

    Nothing that is read is executed. The devices may be others than those that trained the model, and the
    data need not be there.

    Args:
        path: What `Model.save` wrote, a folder or a file; the workdir of a run; the URL of either in a
            bucket; `hf://USER/NAME` of a saved model on the Hugging Face Hub, with `@REVISION` after it
            for a branch, a tag or a commit; or "polydigits-small", a model that is installed with the
            package, unless there is a file or folder of that name.
        classes: The classes of your own networks that a saved model has. Not needed for a run.
        coders: The frozen coders that the model was trained with, by modality, as `fit` takes them. Not
            needed for a run whose config names them.

    Returns:
        The model, which samples as it did when it was saved, or as the run's config says.

    Raises:
        ValueError: In one sentence, if there is no model; if its trainings are not finished; or if a file is
            truncated, damaged or of a newer version of the format, or names a class that is not in `classes`;
            and if a coder is missing, or encodes or decodes in another way than in training.
        ImportError: For a model on the Hub without `huggingface_hub`, which `pip install 'sbmae_jax[hub]'`
            installs.

    Example:
        Generate five joint samples, and complete the first one from one of its modalities::

            import sbmae_jax

            model = sbmae_jax.load("runs/polydigits")
            samples = model.generate({}, num_samples=5)
            completed = model.generate({"hubble": samples["hubble"][:1]})
    """
    if isinstance(coders, Mapping) and any(isinstance(coder, str) for coder in coders.values()):
        from sbmae_jax.app.coders import functions_of

        coders = functions_of(coders)
    if str(path) in SHIPPED and not as_path(path).exists():
        path = SHIPPED[str(path)]
    if str(path).startswith(HUB):
        return load_saved(_download(str(path)), classes, coders)
    if is_saved_model(as_path(path)):
        return load_saved(path, classes, coders)
    # A saved model does not need what trains and evaluates, which takes seconds to import.
    from sbmae_jax.app.pipeline import open_run
    from sbmae_jax.app.run import load_model
    from sbmae_jax.training.workdir import CONFIG

    if not (as_path(path) / CONFIG).exists():
        raise ValueError(
            f"{path} has no model: name what Model.save wrote, or the workdir of a run"
        )
    return load_model(open_run(path, coders))


def _download(url: str) -> Path:
    """Return a folder with the files of a saved model on the Hub, which are kept in a cache."""
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?", url)
    if found is None:
        raise ValueError(
            f"a model on the Hub is hf://USER/NAME or hf://USER/NAME@REVISION, got {url}"
        )
    require_extra(url, "hub", "huggingface_hub")
    from huggingface_hub import snapshot_download

    name, revision = found.groups()
    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=[DOCUMENT, TENSORS])
        )
    except Exception as error:  # those of the Hub, of HTTP and of files have no common type
        raise ValueError(f"{url} cannot be downloaded ({one_line(error, 300)})") from None
    if not is_saved_model(folder):
        raise ValueError(f"{url} has no saved model: upload the {DOCUMENT} and {TENSORS} of one")
    return folder
