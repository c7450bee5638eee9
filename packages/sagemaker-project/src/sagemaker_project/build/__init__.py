"""From a module with get_pipeline() to an execution that is followed to its end."""
