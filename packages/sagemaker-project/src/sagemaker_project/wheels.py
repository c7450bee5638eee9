"""The wheels of a repository: `wheels/` holds them and its lock files pin them by hash.

The hook that ends a generation runs this file alone, so it imports nothing but the standard
library.
"""

import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

FOLDER = "wheels"
ENGINE = "engine"
LOCKS = {
    "requirements.lock": ("sagemaker-emulator", "sagemaker-project"),
    "requirements-deploy.lock": ("sagemaker-project",),
}
ONLY_FROM_WHEELS = "# These two come from wheels/ alone, whatever an index has under their names.\n"


class WheelError(Exception):
    """Why the wheels cannot be changed. The message is one line."""


def pin(root: Path) -> None:
    """Have the lock files take what is in `wheels/` from there, and nothing but these bytes.

    Without wheels they stay as they are: the packages come from an index, or are ejected.
    """
    lines = {name: _line(wheel) for name, wheel in wheels_of(root).items()}
    if lines:
        for lock, names in LOCKS.items():
            pinned = {name: lines[name] for name in names if name in lines}
            _rewrite(Path(root, lock), set(lines), pinned)


def wheels_of(root: Path) -> dict[str, Path]:
    """{name: wheel} of a repository."""
    found: dict[str, Path] = {}
    for wheel in sorted(Path(root, FOLDER).glob("*.whl")):
        name, _ = identity(wheel)
        if name in found:
            raise WheelError(f"{found[name]} and {wheel.name} are both {name}: delete one of them")
        found[name] = wheel
    return found


def _rewrite(lock: Path, without: set[str], pinned: dict[str, str]) -> None:
    """Put lines into a lock, in the place of what it has of these packages."""
    text = lock.read_text("utf-8").rstrip("\n") + "\n"
    entries = re.findall(r"^[^\n]+(?:\n[ \t]+[^\n]+)*\n", text, re.MULTILINE)
    other = [e for e in entries if _name(e) not in {"--find-links", *without}]
    first = [f"--find-links {FOLDER}\n"] if pinned else []
    content = "".join([*first, *sorted([*other, *pinned.values()], key=_name)])
    _replace(lock, content.encode())  # the same line ends on every system


def _replace(path: Path, content: bytes) -> None:
    """Write all of a file, or leave it as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_schema(root: Path) -> None:
    """Write the schema of the stages' settings beside them, for editors, on one long line."""
    if (wheel := wheels_of(root).get("sagemaker-project")) is None:
        return  # it comes from an index
    with zipfile.ZipFile(wheel) as file:
        schema = json.loads(file.read("sagemaker_project/deploy/config.schema.json"))
    text = json.dumps(schema, separators=(",", ":")) + "\n"
    _replace(Path(root, "deploy/config.schema.json"), text.encode())


def _line(wheel: Path) -> str:
    name, version = identity(wheel)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def _name(entry: str) -> str:
    return re.split(r"[=\s]", entry)[0]


def identity(wheel: Path) -> tuple[str, str]:
    """The name and version in a wheel's own metadata."""
    about = metadata(wheel)
    return about["Name"][0], about["Version"][0]


def metadata(wheel: Path) -> dict[str, list[str]]:
    """The METADATA of a wheel: all values of each field."""
    try:
        with zipfile.ZipFile(wheel) as file:
            [path] = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
            head = file.read(path).decode().partition("\n\n")[0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WheelError(f"{wheel} is no wheel that can be read: {error}") from None
    fields: dict[str, list[str]] = {}
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)
    return fields


def upgrade(root: Path, source: Path) -> list[str]:
    """Replace wheels by newer ones; what was done and what is left to do, a line each.

    Args:
        root: the repository.
        source: a wheel, or a checkout of the template, whose packages are packed as they are.
    """
    import runpy  # here, and not above: each generation of a repository loads this file
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        if source.suffix == ".whl":
            new = [source]
        elif (source / "packages/pack.py").is_file():
            runpy.run_path(str(source / "packages/pack.py"))["pack"](folder)
            new = sorted(Path(folder).glob("*.whl"))
        else:
            raise WheelError(f"{source} is neither a wheel nor a checkout of the template")
        here = wheels_of(root)
        for wheel in new:
            if (name := identity(wheel)[0]) not in here:
                raise WheelError(f"{wheel.name}: this repository has no wheel of {name}")
        told = [_take(here[identity(wheel)[0]], wheel) for wheel in new]
    pin(root)
    write_schema(root)
    return [*told, *_unmet(root)]


def _take(old: Path, new: Path) -> str:
    """Put a wheel in the place of another one: of the two, one is there at any time."""
    (name, version), before = identity(new), identity(old)[1]
    content = new.read_bytes()
    if old.read_bytes() == content:
        return f"{name} {version}: unchanged"
    target = old.with_name(new.name)
    _replace(target, content)
    if target != old:
        old.unlink()
    return f"{name}: {before} -> {version}"


def _unmet(root: Path) -> list[str]:
    """What the new wheels need that requirements.lock does not have."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lock = Path(root, "requirements.lock").read_text(encoding="utf-8")
    pinned: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE):
        pinned.setdefault(canonicalize_name(name), []).append(version)
    told = []
    for wheel in wheels_of(root).values():
        for text in metadata(wheel)["Requires-Dist"]:
            wanted = Requirement(text)
            found = pinned.get(canonicalize_name(wanted.name), [])
            if not any(wanted.specifier.contains(version, True) for version in found):
                has = " and ".join(found) or "nothing of it"
                told.append(f"{wheel.name} needs {text}, the lock has {has}: type make lock")
    return told


def eject(root: Path) -> list[str]:
    """Unpack the wheels into `engine/`, which is then installed with the repository.

    Returns: what was done, a line each.
    """
    wheels = list(wheels_of(root).values())
    engine = Path(root, ENGINE)
    if not wheels:
        raise WheelError(f"there are no wheels in {Path(root, FOLDER)}: nothing to eject")
    if engine.exists():
        raise WheelError(f"{engine} exists already: move it away first")
    pyproject = Path(root, "pyproject.toml")
    try:
        text = _with_engine(pyproject, wheels)
    except KeyError as error:
        raise WheelError(f"{pyproject} has lost what an eject has to change: {error}") from None
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as file:
            names = [name for name in file.namelist() if ".dist-info/" not in name]
            file.extractall(engine, names)
            [license] = [name for name in file.namelist() if name.endswith("/licenses/LICENSE")]
            Path(engine, names[0].partition("/")[0], "LICENSE").write_bytes(file.read(license))
    _replace(pyproject, text.encode())
    for lock, names in LOCKS.items():
        _rewrite(Path(root, lock), set(names), {})
    shutil.rmtree(Path(root, FOLDER))
    return [f"{ENGINE}/ has the source of the two packages, from now on yours"]


def _with_engine(pyproject: Path, wheels: list[Path]) -> str:
    """The text of a pyproject.toml that installs `engine/` with what the wheels installed."""
    import tomlkit

    content = tomlkit.parse(pyproject.read_text(encoding="utf-8").replace(ONLY_FROM_WHEELS, ""))
    project, tool = content["project"], content["tool"]
    needed = {identity(wheel)[0]: _requirements(wheel) for wheel in wheels}
    everything = [text for texts in needed.values() for text, _ in texts]
    to_deploy = [text for text, extra in needed["sagemaker-project"] if not extra]
    _need(project["dependencies"], everything, set(needed))
    _need(content["dependency-groups"]["deploy"], to_deploy, set(needed))
    for wheel in wheels:
        for group, entries in _entry_points(wheel).items():
            if group == "console_scripts":
                project["scripts"].update(entries)
            else:
                plugins = project.setdefault("entry-points", tomlkit.table(is_super_table=True))
                plugins.setdefault(group, tomlkit.table()).update(entries)
    for name in needed:
        tool["uv"]["sources"].pop(name, None)
    for position, index in reversed(list(enumerate(tool["uv"]["index"]))):
        if index.get("name") == FOLDER:
            del tool["uv"]["index"][position]
    for table in ("sources", "index"):
        if not tool["uv"][table]:
            del tool["uv"][table]
    packages = tool["setuptools"]["packages"]["find"]
    packages["where"] = [".", ENGINE]
    packages["include"] = [*packages["include"], "sagemaker_emulator*", "sagemaker_project*"]
    data = tool["setuptools"]["package-data"]
    data["sagemaker_emulator"] = ["*.md", "py.typed"]
    data["sagemaker_project"] = ["deploy/*.json", "docs/*.md", "py.typed"]
    return tomlkit.dumps(content)


def _need(array, requirements: list[str], without: set[str]) -> None:
    """Change a list of requirements in place, so that its comments stay."""
    for position, item in reversed(list(enumerate(array))):
        if isinstance(item, str) and _package(item) in without:
            del array[position]
    known = without | {_package(item) for item in array if isinstance(item, str)}
    for text in requirements:
        if _package(text) not in known:
            known.add(_package(text))
            array.append(text)
    array.multiline(True)


def _requirements(wheel: Path) -> list[tuple[str, bool]]:
    """What a wheel needs: (requirement, whether only an extra needs it)."""
    texts = metadata(wheel)["Requires-Dist"]
    return [(text.partition("; extra ==")[0], "extra ==" in text) for text in texts]


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def _entry_points(wheel: Path) -> dict[str, dict[str, str]]:
    """{group: {name: object}} of a wheel."""
    from configparser import ConfigParser

    parser = ConfigParser(delimiters="=", interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    with zipfile.ZipFile(wheel) as file:
        [path] = [n for n in file.namelist() if n.endswith(".dist-info/entry_points.txt")]
        parser.read_string(file.read(path).decode())
    return {group: dict(parser[group]) for group in parser.sections()}
