"""The data of a repository's own tests and demo: its sample, or rows made up from schema.json.

The bundled sample is used while it fits schema.json. After that the rows are made: they are of the
right form and their label can be learned, which is all that a test or a demo needs.
"""

from pathlib import Path
from typing import NamedTuple

from sagemaker_project.project import PACKAGE
from sagemaker_project.sample_rows import write_csv
from sagemaker_project.tabular.client import csv_row, records
from sagemaker_project.tabular.reading import find_files, read_table
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.table import BadInput

ROWS = 1_200
ROWS_OF_A_CLASS = 150  # on average, so that the rarest one is in each split
SEED = 42
BUNDLED = "data/abalone-sample.csv"


class Sample(NamedTuple):
    """A data file that fits a schema, and whether its rows were made up from that."""

    schema: Schema
    path: Path
    is_made_up: bool

    def requests(self) -> list[list[str]]:
        """Return the features of each row as a CSV request to an endpoint has them."""
        table = read_table(find_files(self.path, self.schema), self.schema).table
        features = self.schema.features
        return [csv_row(record, features) for record in records(table, features)]


def sample_of(root: Path, pipeline: str, folder: Path) -> Sample:
    """Return the sample of a pipeline; a file that has to be made is written to `folder`.

    Args:
        root: of the repository.
    """
    file = root / PACKAGE / pipeline / "schema.json"
    schema = read_schema(file.read_bytes(), str(file))
    bundled = root / BUNDLED
    try:
        read_table(find_files(bundled, schema), schema)
        return Sample(schema, bundled, is_made_up=False)
    except BadInput:
        path = folder / f"{pipeline}-sample{_suffix(schema)}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = max(ROWS, ROWS_OF_A_CLASS * len(schema.label_field.values))
        write_csv(schema, rows, SEED, path)
        return Sample(schema, path, is_made_up=True)


def _suffix(schema: Schema) -> str:
    return f".{schema.file.format}{'.gz' if schema.file.compression else ''}"
