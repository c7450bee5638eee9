"""What `inspect-data` prints: a table and questions on a terminal, plain lines elsewhere."""

import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from sagemaker_project.inspect_data.findings import Answer, Doubt, Sample, count
from sagemaker_project.inspect_data.sources import describe
from sagemaker_project.inspect_data.tables import Result

STYLES = {"feature": "", "label": "bold green", "id": "cyan", "ignored": "dim"}


def print_result(name: str, result: Result) -> None:
    """Print what the table is, column by column."""
    print(f"{name}: {_about(result.sample)}")
    if sys.stdout.isatty():
        _print_table(result)
    else:
        _print_lines(result)
    for line in _summary(result):
        print(line)


def _about(sample: Sample) -> str:
    rows = count(sample.rows, "row")
    if not sample.whole:
        rows = f"the first {rows}"
    files = f", {len(sample.files)} parts" if len(sample.files) > 1 else ""
    return f"{describe(sample.file)}{files}; {rows}, {count(len(sample.columns), 'column')}"


def _print_table(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Column", "Type", "Role", "Why", box=None, pad_edge=False, header_style="bold")
    table.columns[0].overflow = "fold"
    for one in result.findings:
        style = STYLES[one.role]
        cells = (one.name, one.type, one.role, one.reason)
        row = [Text(_one_line(cell), style=style) for cell in cells]
        if one.doubts:
            row[3].append("  ?", style="bold yellow")
        table.add_row(*row)
    Console().print(table)


def _print_lines(result: Result) -> None:
    width = max(len(one.name) for one in result.findings)
    for one in result.findings:
        print(f"{one.name:<{width}}  {one.type:<8}  {one.role:<7}  {_one_line(one.reason)}")


def _summary(result: Result) -> list[str]:
    label, content = result.label, result.content
    problem = f"problem: {label.problem}"
    if label.positive:
        problem += f", positive class {_one_line(label.positive)}"
    sign = "at least" if label.more_is_better else "at most"
    metric = f"metric: {label.metric} {sign} {label.threshold:g} ({label.chosen})"
    facets = ", ".join(content["facets"])
    lines = [problem, metric, f"split: {_split(content['split'])}"]
    return [*lines, f"reported by: {facets}"] if facets else lines


def _split(split: Mapping[str, Any]) -> str:
    if "time" in split:
        dates = f"validation from {split['validationFrom']}, test from {split['testFrom']}"
        return f"by {split['time']}: {dates}"
    if "group" in split:
        return f"rows of one {' and '.join(split['group'])} are in one split"
    return f"70, 15 and 15 % of the rows, by the {len(split['by'])} columns of features and label"


def doubt_lines(doubt: Doubt) -> str:
    """Return a doubt in one line, with the flag of each answer."""
    text = _one_line(doubt.text)
    if not doubt.answers:
        return text
    answers = [(flag(answer), _one_line(answer.text)) for answer in doubt.answers]
    flags = " or ".join(f"{typed} ({meaning})" for typed, meaning in answers)
    return f"{text} Taken: {answers[0][1]}. Settle it with {flags}"


def _one_line(text: str) -> str:
    """Return a text with its line breaks and control characters escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def flag(answer: Answer) -> str:
    """Return an answer as it is typed in a shell; $'...' where a line break would be in it."""
    if answer.value.isprintable():
        return f"{answer.flag} {shlex.quote(answer.value)}"
    escaped = _one_line(answer.value.replace("\\", r"\\").replace("'", r"\'"))
    return f"{answer.flag} $'{escaped}'"


def ask(doubt: Doubt) -> Answer:
    """Ask on the terminal; Enter takes the best guess."""
    print(f"\n{doubt.text}")
    for n, answer in enumerate(doubt.answers, 1):
        print(f"  {n}  {_one_line(answer.text)}   {flag(answer)}")
    while True:
        given = _typed(f"1 to {len(doubt.answers)} [1]: ") or "1"
        if given.isdigit() and 1 <= int(given) <= len(doubt.answers):
            return doubt.answers[int(given) - 1]


def confirm(question: str) -> bool:
    return _typed(f"{question} [y/N]: ").lower() in ("y", "yes")


def _typed(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:  # Ctrl-D
        print()
        raise KeyboardInterrupt from None


def file_text(content: Mapping[str, Any]) -> str:
    """Return a schema.json as a person edits it: a line for each member and each field."""
    lines = []
    for name, value in content.items():
        if name == "fields":
            fields = ",\n".join(f"    {_json(one)}" for one in value)
            lines.append(f'  "fields": [\n{fields}\n  ]')
        else:
            lines.append(f"  {_json(name)}: {_json(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
