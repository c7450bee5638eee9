"""The version of these pipelines, in a module that imports nothing."""

__title__ = "pipelines"
__version__ = "0.1.0"
