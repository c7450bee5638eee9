"""The notebook: its cells run from top to bottom."""

import json

import pytest


@pytest.mark.acceptance
def test_every_cell_runs(make_project):
    project = make_project()
    path = project.path / "notebooks/sagemaker-pipelines-project.ipynb"
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # IPython is not a dependency of the project; the notebook uses one name of it.
    display = (
        "import sys, types\nsys.modules['IPython.display'] = types.SimpleNamespace(HTML=str)\n"
    )
    checks = (
        "assert ended['PipelineExecutionStatus'] == 'Succeeded'\n"
        "assert evaluation.metrics['mse'] < 6 and '&lt;svg' in page\n"
        "assert described['ModelApprovalStatus'] == 'PendingManualApproval'\n"
    )
    done = project.python(display + "\n".join(code) + "\n" + checks)
    assert done.returncode == 0, done.stderr
    assert "RegisterAbaloneModel" in done.stdout
