"""Pipelines and their executions.

A definition is parsed and checked when a pipeline is created: everything that can be known before
a run is refused there, with the step and the path of the mistake. An execution is one object with
a thread that decides which steps may start, and a thread for each step that runs. Expressions such
as Get and Std:JsonGet are resolved when their step starts, from the results of earlier steps.

    operations.py   CreatePipeline, StartPipelineExecution, ...: the table OPERATIONS
    kinds.py        the two resources, pipelines and executions
    definition.py   the JSON of a definition to dataclasses; every mistake found before a run
      schema.py       these dataclasses, and the error of a mistake
      parameters.py   declared parameters, and their values in an execution
      references.py   checks what expressions and conditions refer to
    resolver.py     Get, Std:Join, Std:JsonGet, conditions: pure functions
    execution.py    one execution: which step starts when, and how it ends
    steps.py        the table of step types, and what each does
    results.py      what a step leaves to others: property files, results to take over
"""
