"""The wheels of a repository: `wheels/` holds them, and the lock files pin them by hash.

The hook at the end of a generation runs this file alone, so it imports only the standard library.
"""

import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # an extra, which a generation does not need
    from tomlkit.items import Array

FOLDER = "wheels"
ENGINE = "engine"
LOCKS = {
    "requirements.lock": ("sagemaker-emulator", "sagemaker-project"),
    "requirements-deploy.lock": ("sagemaker-project",),
}
# A comment in the pyproject.toml of a repository, which is no longer true after an eject.
ONLY_FROM_WHEELS = "# These two come from wheels/ alone, whatever an index has under their names.\n"


class WheelError(Exception):
    """The wheels cannot be changed. The message is one line that says why."""


def pin(root: Path) -> None:
    """Pin the wheels in `wheels/` by hash in the lock files.

    Without wheels the locks stay as they are: the packages come from an index, or are ejected.
    """
    lines = {name: _lock_line(wheel) for name, wheel in wheels_of(root).items()}
    if lines:
        for lock, names in LOCKS.items():
            pinned = {name: lines[name] for name in names if name in lines}
            _rewrite(Path(root, lock), set(lines), pinned)


def wheels_of(root: Path) -> dict[str, Path]:
    """Return {name: wheel} of a repository."""
    found: dict[str, Path] = {}
    for wheel in sorted(Path(root, FOLDER).glob("*.whl")):
        name, _ = identity(wheel)
        if name in found:
            raise WheelError(f"{found[name]} and {wheel.name} are both {name}: delete one of them")
        found[name] = wheel
    return found


def _rewrite(lock: Path, without: set[str], pinned: dict[str, str]) -> None:
    """Replace the entries of the packages `without` in a lock by the lines `pinned`."""
    text = lock.read_text("utf-8").rstrip("\n") + "\n"
    entries = re.findall(r"^[^\n]+(?:\n[ \t]+[^\n]+)*\n", text, re.MULTILINE)
    other = [entry for entry in entries if _name(entry) not in {"--find-links", *without}]
    first = [f"--find-links {FOLDER}\n"] if pinned else []
    content = "".join([*first, *sorted([*other, *pinned.values()], key=_name)])
    _replace(lock, content.encode())  # bytes: the same line ends on every system


def _replace(path: Path, content: bytes) -> None:
    """Write the whole file, or leave it as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_schema(root: Path) -> None:
    """Write the schema of the settings beside them, for editors, in one line."""
    if (wheel := wheels_of(root).get("sagemaker-project")) is None:
        return  # the package comes from an index
    with zipfile.ZipFile(wheel) as file:
        schema = json.loads(file.read("sagemaker_project/deploy/config.schema.json"))
    text = json.dumps(schema, separators=(",", ":")) + "\n"
    _replace(Path(root, "deploy/config.schema.json"), text.encode())


def _lock_line(wheel: Path) -> str:
    name, version = identity(wheel)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def _name(entry: str) -> str:
    return re.split(r"[=\s]", entry)[0]


def identity(wheel: Path) -> tuple[str, str]:
    """Return the name and version in a wheel's metadata."""
    fields = metadata(wheel)
    return fields["Name"][0], fields["Version"][0]


def metadata(wheel: Path) -> dict[str, list[str]]:
    """Return the METADATA of a wheel: all values of each field."""
    try:
        with zipfile.ZipFile(wheel) as file:
            [path] = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
            head = file.read(path).decode().partition("\n\n")[0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WheelError(f"{wheel} is not a readable wheel: {error}") from None
    fields: dict[str, list[str]] = {}
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)
    return fields


def upgrade(root: Path, source: Path) -> list[str]:
    """Replace wheels by newer ones.

    Args:
        root: the repository.
        source: a wheel, or a checkout of the template, whose packages are packed as they are.

    Returns:
        What was done and what is left to do, line by line.
    """
    import runpy  # not at the top, because every generation of a repository loads this file
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        if source.suffix == ".whl":
            new = [source]
        elif (source / "packages/pack.py").is_file():
            runpy.run_path(str(source / "packages/pack.py"))["pack"](folder)
            new = sorted(Path(folder).glob("*.whl"))
        else:
            raise WheelError(f"{source} is neither a wheel nor a checkout of the template")
        current = wheels_of(root)
        for wheel in new:
            if (name := identity(wheel)[0]) not in current:
                raise WheelError(f"{wheel.name}: this repository has no wheel of {name}")
        done = [_exchange(current[identity(wheel)[0]], wheel) for wheel in new]
    pin(root)
    write_schema(root)
    return [*done, *_unmet_requirements(root)]


def _exchange(old: Path, new: Path) -> str:
    """Replace a wheel by another one, with at least one of the two present at any time."""
    (name, version), before = identity(new), identity(old)[1]
    content = new.read_bytes()
    if old.read_bytes() == content:
        return f"{name} {version}: unchanged"
    target = old.with_name(new.name)
    _replace(target, content)
    if target != old:
        old.unlink()
    return f"{name}: {before} -> {version}"


def _unmet_requirements(root: Path) -> list[str]:
    """Return a line for each requirement of the wheels that requirements.lock does not meet."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lock = Path(root, "requirements.lock").read_text(encoding="utf-8")
    pinned: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE):
        pinned.setdefault(canonicalize_name(name), []).append(version)
    lines = []
    for wheel in wheels_of(root).values():
        for text in metadata(wheel)["Requires-Dist"]:
            wanted = Requirement(text)
            found = pinned.get(canonicalize_name(wanted.name), [])
            if not any(wanted.specifier.contains(version, True) for version in found):
                has = " and ".join(found) or "nothing of it"
                lines.append(f"{wheel.name} needs {text}, the lock has {has}: type make lock")
    return lines


def eject(root: Path) -> list[str]:
    """Unpack the wheels into `engine/`, which is then installed with the repository.

    Returns:
        What was done, line by line.
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
        raise WheelError(f"{pyproject} lacks a key that an eject has to change: {error}") from None
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as file:
            sources = [name for name in file.namelist() if ".dist-info/" not in name]
            file.extractall(engine, sources)
            [license] = [name for name in file.namelist() if name.endswith("/licenses/LICENSE")]
            Path(engine, sources[0].partition("/")[0], "LICENSE").write_bytes(file.read(license))
    _replace(pyproject, text.encode())
    for lock, names in LOCKS.items():
        _rewrite(Path(root, lock), set(names), {})
    shutil.rmtree(Path(root, FOLDER))
    return [f"{ENGINE}/ has the source of the two packages, which is yours from now on"]


def _with_engine(pyproject: Path, wheels: list[Path]) -> str:
    """Return the text of a pyproject.toml that installs `engine/` instead of the wheels.

    Raises:
        KeyError: the pyproject.toml has no such table or key as the template writes.
    """
    import tomlkit

    content = tomlkit.parse(pyproject.read_text(encoding="utf-8").replace(ONLY_FROM_WHEELS, ""))
    project, tool = content["project"], content["tool"]
    needed = {identity(wheel)[0]: _requirements(wheel) for wheel in wheels}
    everything = [text for texts in needed.values() for text, _ in texts]
    to_deploy = [text for text, extra in needed["sagemaker-project"] if not extra]
    _replace_requirements(project["dependencies"], everything, set(needed))
    _replace_requirements(content["dependency-groups"]["deploy"], to_deploy, set(needed))
    for wheel in wheels:
        for group, entries in _entry_points(wheel).items():
            if group == "console_scripts":
                project["scripts"].update(entries)
            else:
                plugins = project.setdefault("entry-points", tomlkit.table(is_super_table=True))
                plugins.setdefault(group, tomlkit.table()).update(entries)
    _remove_wheel_sources(tool["uv"], set(needed))
    packages = tool["setuptools"]["packages"]["find"]
    packages["where"] = [".", ENGINE]
    packages["include"] = [*packages["include"], "sagemaker_emulator*", "sagemaker_project*"]
    data = tool["setuptools"]["package-data"]
    data["sagemaker_emulator"] = ["*.md", "hosting/*.json", "py.typed"]
    data["sagemaker_project"] = ["deploy/*.json", "docs/*.md", "py.typed"]
    return tomlkit.dumps(content)


def _remove_wheel_sources(uv: Any, names: set[str]) -> None:
    """Delete from [tool.uv] that the packages `names` come from `wheels/`."""
    for name in names:
        uv["sources"].pop(name, None)
    for position, index in reversed(list(enumerate(uv["index"]))):
        if index.get("name") == FOLDER:
            del uv["index"][position]
    for table in ("sources", "index"):
        if not uv[table]:
            del uv[table]


def _replace_requirements(array: "Array", requirements: list[str], without: set[str]) -> None:
    """Remove the packages `without` from a list and add requirements, in place: comments stay."""
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
    """Return (requirement, whether only an extra needs it) for each requirement of a wheel."""
    texts = metadata(wheel)["Requires-Dist"]
    return [(text.partition("; extra ==")[0], "extra ==" in text) for text in texts]


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def _entry_points(wheel: Path) -> dict[str, dict[str, str]]:
    """Return {group: {name: object}} of a wheel."""
    from configparser import ConfigParser

    class CaseSensitiveParser(ConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr

    parser = CaseSensitiveParser(delimiters="=", interpolation=None)
    with zipfile.ZipFile(wheel) as file:
        [path] = [n for n in file.namelist() if n.endswith(".dist-info/entry_points.txt")]
        parser.read_string(file.read(path).decode())
    return {group: dict(parser[group]) for group in parser.sections()}
