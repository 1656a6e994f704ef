"""The project's own files agree with each other."""

from __future__ import annotations

import ast
import configparser
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ckdmed
from ckdmed import cli
from ckdmed.reports import read_values

ROOT = Path(__file__).resolve().parent.parent
# Import names that differ from the distribution's.
DISTRIBUTION_OF = {"PIL": "pillow", "ignite": "pytorch-ignite", "skimage": "scikit-image", "yaml": "pyyaml"}


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def requirements(*extras: str) -> list[Requirement]:
    """What setup.cfg states for the plain install and for the given extras."""
    config = setup_cfg()
    blocks = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for block in blocks for line in block.splitlines() if line]


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice"
            # pip takes the newest that an extra of users leaves it, which the development install takes too
            (newest,) = [each.version for each in requirement.specifier if each.operator in ("==", "<=")]
            found[name] = Version(newest)
    return found


def readme_block(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"<!-- {name} -->\n\n```bash\n(.*?)```\n\n<!-- end of {name} -->", text, flags=re.DOTALL)
    assert len(blocks) == 1, f"README.md has {len(blocks)} blocks {name}"
    return blocks[0]


def readme_table(heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of tracked files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert versions[0] == ckdmed.__version__


@pytest.mark.parametrize("name", ["main-command", "test-command"])
def test_readme_commands_parse(name):
    block = readme_block(name)
    assert "&&" in block and not re.search(r"[^&\\]\n.", block), "one command: every line but the last goes on"
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ci_runs_the_readmes_test_command():
    done = subprocess.run(["bash", ".ci/run", "--show"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == readme_block("test-command")
    assert "tools/check.sh" in done.stdout


def test_readme_lists_the_commands():
    assert sorted(readme_table("Commands")) == sorted(name.replace("_", "-") for name in cli.COMMANDS)


def test_readme_lists_the_bundles():
    bundles = sorted(f"bundles/{path.parent.name}" for path in (ROOT / "bundles").glob("*/metadata.json"))
    assert sorted(readme_table("Bundles")) == bundles


def test_the_package_reaches_and_lists_what_the_readme_lists():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Packages\n")[1].split("\n## ")[0]
    named = {name for line in text.splitlines() for name in re.findall(r"`ckdmed\.(\w+)`", line.split(" | ")[0])}
    assert named and named <= set(dir(ckdmed))
    assert all(getattr(ckdmed, name).__name__ == f"ckdmed.{name}" for name in named)


def test_type_checkers_see_what_the_package_reaches():
    stub = (ROOT / "ckdmed/__init__.pyi").read_text(encoding="utf-8")
    assert set(re.findall(r"^from \. import (\w+) as \1$", stub, flags=re.MULTILINE)) == ckdmed._SUBPACKAGES


def test_importing_the_package_imports_nothing_else():
    # its parts come when they are asked for, so it costs next to nothing beside MONAI
    program = "import sys; old = set(sys.modules); import ckdmed; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert packages == {"ckdmed"}


@pytest.mark.parametrize("script", [".ci/run", "tools/check.sh"])
def test_scripts_parse_and_can_be_run(script):
    path = ROOT / script
    assert path.stat().st_mode & 0o111, f"{script} is not executable"
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0


def test_check_refuses_an_unknown_step():
    done = subprocess.run(["bash", "tools/check.sh", "linnt"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no check named 'linnt'; there are: format lint types imports site tests" in done.stderr


@pytest.mark.parametrize("part", ["0/4", "5/4", "2", ""])
def test_check_refuses_a_part_that_there_is_not(part):
    done = subprocess.run(["bash", "tools/check.sh", "--part", part], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and f"--part takes NUMBER/PARTS, such as 2/4; got '{part}'" in done.stderr


def test_links_between_the_documents_lead_somewhere():
    broken = []
    for page in [path for path in tracked_files() if path.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_no_machine_paths_or_registry_hosts():
    # Written in two halves, so that this file does not hold them.
    folders = ["work", "root", "home", "opt", "Users"]
    hosts = [
        "pypi" + ".org",
        "python" + "hosted.org",
        # its index of packages; published weights lie beside it
        "download." + "pytorch.org/whl",
        "registry." + "npmjs",
        "deb." + "debian",
    ]
    forbidden = re.compile(
        "|".join([rf"(?<![\w.~}}-])/{folder}/" for folder in folders] + [re.escape(h) for h in hosts])
    )
    found = []
    for path in tracked_files():
        # the exporter's tests show it such paths, for it to refuse
        if path.is_relative_to(ROOT / "tests/export"):
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match.group()}"
            for number, line in enumerate(lines, start=1)
            if (match := forbidden.search(line))
        ]
    assert not found


def test_modules_stay_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "ckdmed").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, "one idea per file: best under 300 lines, at most 400"


def test_every_module_can_be_imported():
    names = [
        module.name for module in pkgutil.walk_packages(ckdmed.__path__, "ckdmed.") if "__main__" not in module.name
    ]
    assert "ckdmed.cli" in names
    for name in names:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            assert hasattr(module, public), f"{name}.__all__ names {public}, which it lacks"


def test_constraints_satisfy_the_ranges():
    pinned = pins()
    for requirement in requirements("dev"):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement} has no pin"
        assert pinned[name] in requirement.specifier, f"{pinned[name]} is outside {requirement}"


def test_constraints_hold_what_the_install_brings_and_nothing_else():
    needed = set()
    todo = requirements("dev")
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        todo += [Requirement(line) for line in importlib.metadata.requires(name) or []]
    # A CUDA build of torch brings packages that the CPU build, which the pins are for, does not.
    brought = {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert brought == set(pins())


def test_every_import_is_declared():
    undeclared = set()
    extras = set(setup_cfg()["options.extras_require"]) - {"dev", "test"}
    declared = {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
    for path in (ROOT / "ckdmed").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            else:
                continue
            for package in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"ckdmed"}:
                if canonicalize_name(DISTRIBUTION_OF.get(package, package)) not in declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {package}")
    assert not undeclared


def tool(name: str):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("weights", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("bundles/*/models/*.pt")))
def test_what_ships_is_described_by_its_record(weights):
    file = ROOT / weights
    record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    page = (file.parents[1] / "docs/README.md").read_text(encoding="utf-8")
    again = f"run python tools/ship_checkpoint.py --bundle bundles/{file.parents[1].name} --name {file.stem}"
    assert tool("ship_checkpoint").documented(page, record, file.stem) == page, again
    assert f"The checkpoint in `models/{file.stem}.pt`" in page, again
    weights = file.read_bytes()
    assert (hashlib.sha256(weights).hexdigest(), len(weights)) == (record["sha256"], record["bytes"])
    assert len(weights) <= 10_000_000


@pytest.fixture(scope="module")
def tables():
    return tool("write_tables")


def test_tables_of_results_are_those_of_their_records(tables):
    pages = [path for pattern in tables.PAGES for path in ROOT.glob(pattern)]
    assert len(pages) > 5
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- table: ") == len(tables.PLACE.findall(text)), f"{page.name}: a place without its end"
        assert tables.filled(text) == text, f"{page.name}: run python tools/write_tables.py"


@pytest.mark.usefixtures("pictures_not_rendered")
def test_pictures_of_results_are_those_of_their_records(tables, tmp_path):
    # by the values that are kept in them
    for name in tables.PICTURES:
        now = read_values(tables.drawn(name, tmp_path / name))
        assert read_values(ROOT / "docs" / "images" / name) == now, f"{name}: run python tools/write_tables.py"
        assert any(f"images/{name}" in path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))


def test_the_short_table_of_pruned_networks_is_of_all_their_runs(tables, monkeypatch):
    def run(arm, section, score):
        metrics = {"Dice per slice": score, "Dice per patient": score - 0.1}
        return SimpleNamespace(arm=arm, split={"section": section}, metrics=metrics)

    runs = [run(arm, section, 0.7) for arm in ("given", "ckd") for section in ("validation", "test")]
    runs += [run("supervised", section, score) for section in ("validation", "test") for score in (0.5, 0.6, 0.7)]
    monkeypatch.setattr(tables, "records_of", lambda name: runs)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables.pruned_short("any").splitlines()]
    assert ["student alone", *["0.6000 ± 0.1000", "0.5000 ± 0.1000"] * 2, "3"] in cells
    assert ["distilled student", *["0.7000", "0.6000"] * 2, "1"] in cells


def test_an_arm_without_runs_leaves_no_empty_cell_among_the_main_results(tables, monkeypatch):
    monkeypatch.setattr(
        tables, "_HEADLINE", {"masks": tables._Shown("compare-tuned", "Dice per slice", "alone", "none")}
    )
    with pytest.raises(ValueError, match="compare-tuned has no run of none on the test set for 'masks'"):
        tables.headline()


def test_a_number_typed_into_a_table_does_not_stay(tables, monkeypatch):
    monkeypatch.setitem(tables.TABLES, "table1", lambda: "| a |\n")
    page = "before\n<!-- table: table1 -->\n\n| 0.99 |\n\n<!-- end of table -->\nafter\n"
    assert tables.filled(page) == page.replace("0.99", "a")
    with pytest.raises(ValueError, match="no table 'nothing'"):
        tables.filled("<!-- table: nothing -->\n<!-- end of table -->")
