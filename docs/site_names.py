"""The names in the reference: what docs/api/*.md lists. It needs neither MkDocs nor the package."""

import re
from pathlib import Path

API = Path(__file__).parent / "api"
ENTRY = re.compile(r"^::: (\S+)\n((?: {4}.*\n)*)", re.M)
MEMBERS = re.compile(r"members:(?: \[\]|((?:\n +- \w+)+))")
DEFINED = re.compile(r"^(?:def|class) ([A-Za-z]\w*)", re.M)


def listed():
    """Yield the page, the module and the name of each entry; where no members are listed, of all."""
    for page in sorted(API.glob("*.md")):
        for entry in ENTRY.finditer(page.read_text()):
            module, options = entry.groups()
            members = MEMBERS.search(options)
            if members:
                names = re.findall(r"\w+", members[1] or "")
            else:
                names = DEFINED.findall(_file(module).read_text())
            yield from ((page, module, name) for name in names)


def _file(module):
    return API.parents[1] / (module.replace(".", "/") + ".py")
