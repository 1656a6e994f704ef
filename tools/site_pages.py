"""MkDocs' hooks: pages of the site that stand elsewhere in the repository, the API's, and links to all of them."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

#: Packages whose public names are the API, in the order of use.
PACKAGES = (
    *("data", "preparation", "transforms", "networks", "losses", "methods", "engines", "handlers"),
    *("metrics", "reports", "inferers", "inference", "bundle", "recipes", "export", "deploy", "runtime", "experiments"),
    *("intended_inputs", "clinic", "dicom_results", "robustness", "pruning", "pseudo_labels", "zoo_teacher"),
)
RESULTS = (
    *("distillation", "earlier_comparisons", "distillation_tables", "distillation_search", "classification"),
    *("methods_compared", "methods_tables", "cohra_unet", "unimodal", "unimodal_tables"),
    *("published_figures", "speed", "real_cases", "reliability"),
)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
# in the code of a sentence; blocks of code hold other elements
_CODE = re.compile(r"<code>[^<]*</code>")
_OPTION = re.compile(r"(?<![^\s>])--[a-z][\w-]*")
# IDEs read these words of reStructuredText in docstrings, Markdown shows them
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")
# what announces a block of code there
_BLOCK = re.compile(r"::(?=</p>)")


def pages() -> dict[str, str]:
    """File of the repository -> its page in the site, of those that are no page of ``docs`` under their own name."""
    found = {"README.md": "index.md", "docs/README.md": "contents.md"}
    found |= {name: name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md")}
    for path in sorted(ROOT.glob("bundles/*/docs/README.md")):
        found[path.relative_to(ROOT).as_posix()] = f"bundles/{path.parts[-3]}.md"
    return found


def on_config(config: Any) -> Any:
    """Fill the sections of the navigation whose pages are found, and append guides that it does not name."""
    bundles = [page for page in pages().values() if page.startswith("bundles/")]
    filled: dict[str, list[Any]] = {
        "bundles/": bundles,
        "results/": [f"{name}.md" for name in RESULTS],
        "api/": [{f"ckdmed.{name}": f"api/{name}.md"} for name in PACKAGES],
    }
    config.nav = [
        {title: filled.get(content, content) if isinstance(content, str) else content}
        for entry in config.nav
        for title, content in entry.items()
    ]
    named = set(_leaves(config.nav))
    guides = next(entry["Guides"] for entry in config.nav if "Guides" in entry)
    own = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
    guides += [name for name in own if name not in named]
    guides += ["contents.md", "contributing.md", "changelog.md"]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from elsewhere, and one of the API for each package."""
    for source, page in pages().items():
        if (old := files.get_file_from_path(source.removeprefix("docs/"))) is not None:
            files.remove(old)
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for name in PACKAGES:
        files.append(File.generated(config, f"api/{name}.md", content=_api(name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links to files of the repository into links to their pages; of those that have none the text stays."""
    sources = {site: source for source, site in pages().items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        site = pages().get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
        if site is None or files.get_file_from_path(site) is None:
            if not (ROOT / file).exists():
                return match[0]
            return text
        return f"{picture}[{text}]({posixpath.relpath(site, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return _LINK.sub(replaced, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Keep options whole for `site.css`, and drop what only reStructuredText reads."""
    html = _BLOCK.sub(":", _ROLE.sub("", html))
    return _CODE.sub(lambda code: _OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)


def _api(name: str) -> str:
    """A page of what a package exports: mkdocstrings writes what the docstrings say of each name."""
    text = (ROOT / "ckdmed" / name / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    exported = _exported(tree)
    # what no module is named for is the package's own
    homes = {own: f"ckdmed.{name}.{own}" for own in exported}
    # packages that import a module when a name of it is asked for name it for type checkers only
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = f"ckdmed.{name}.{node.module}" if node.level else node.module
            homes |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names}
    names = [homes[own] for own in exported]
    blocks = "\n\n".join(f"::: {full}" for full in names)
    return f"# ckdmed.{name}\n\n{ast.get_docstring(tree) or ''}\n\n{blocks}\n"


def _exported(tree: Any) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [str(entry.value) for entry in ast.walk(node.value) if isinstance(entry, ast.Constant)]
    return []


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    if isinstance(nav, dict):
        nav = list(nav.values())
    return [leaf for entry in nav for leaf in _leaves(entry)]
