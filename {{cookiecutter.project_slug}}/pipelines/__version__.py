"""The version of these pipelines, apart from any import that costs time."""

__title__ = "pipelines"
__version__ = "0.1.0"
