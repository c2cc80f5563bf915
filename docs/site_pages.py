"""A hook of MkDocs: the pages of the site that lie outside of docs/ or are notebooks, and the links to them.

Pages link to files of the repository, so that they can be read on GitHub as well. On the site a link leads
to the page that is made of the file, or for a module to its place in the reference.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "results/targets.md": "results/README.md",
    "results/gpu.md": "benchmarks/gpu/README.md",
}
FENCE_OR_LINK = re.compile(
    r"^ *```.*?^ *```$|\]\((?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)", re.M | re.S
)


def on_files(files, config):
    """Add pages from outside of docs/, the JSON and the pictures of the results, and the notebooks."""
    for target, source in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in (".json", ".png"):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.remove(files.get_file_from_path(f"notebooks/{path.name}"))
        text, found = MarkdownExporter().from_filename(
            str(path), {"unique_key": path.stem, "output_files_dir": path.stem}
        )
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, picture in found["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links of the site."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]  # which has one entry
    source = PAGES.get(here, f"docs/{here}")

    def of_the_site(match):
        if match["path"] is None:
            return match[0]  # a block of code
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        place, anchor = _place(path)
        if place is None:
            raise PluginError(f"{source}: the site has no page of {path}; see docs/site_pages.py")
        link = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"]({link}{match['anchor'] or anchor})"

    text = FENCE_OR_LINK.sub(of_the_site, markdown)
    return re.sub(
        r"(?m)^\|.*$",
        lambda row: row[0].replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"),
        text,
    )


def _place(path):
    """Return the page of the site that shows a file of the repository, and the anchor in it."""
    pages = {file: page for page, file in PAGES.items()} | {"README.md": "index.md"}
    if path in pages:
        return pages[path], ""
    if path.startswith("docs/notebooks/") and path.endswith(".ipynb"):
        return path.removeprefix("docs/").replace(".ipynb", ".md"), ""
    if path.startswith("docs/"):
        return path.removeprefix("docs/"), ""
    if path.startswith("results/"):
        return path, ""
    module = path.removesuffix(".py").replace("/", ".")
    for page in (ROOT / "docs" / "api").glob("*.md"):
        if f"::: {module}\n" in page.read_text():
            return f"api/{page.name}", f"#{module}"
    return None, ""
