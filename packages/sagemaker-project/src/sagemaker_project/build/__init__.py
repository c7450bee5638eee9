"""From a module with get_pipeline() to an execution that has ended."""
