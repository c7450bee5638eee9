"""A mistake in a user's own pipeline.py or schema.json: one line that says where, no traceback."""

import pytest
from sagemaker_project.build.described import definition_of
from sagemaker_project.errors import RunFailed

MODULE = "pipelines.abalone.pipeline"
JOIN = 'Join(on=".", values=["regression_metrics", metric_name, "value"])'
PARAMETER = '    metric_name = ParameterString("MetricName", default_value="mse")\n'


@pytest.fixture(scope="module")
def own(make_project):
    return make_project()


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        (
            "pipeline.py",
            "evaluated(metrics_file, SCHEMA.metric_path)",
            f"evaluated(metrics_file, {JOIN})",
            "step RegisterAbaloneModel: Arguments.CustomerMetadataProperties.Mse.Std:Join.Values."
            "Std:JsonGet.Path is a Join",
        ),
        (
            "pipeline.py",
            'outputs=["evaluation"]',
            'output=["evaluation"]',
            "pipelines/abalone/pipeline.py, line ",
        ),
        ("schema.json", '"label": "rings"', '"label": "ring"', "schema.json: label is 'ring'"),
    ],
)
def test_an_edit_that_does_not_work_is_one_line(own, file, old, new, message):
    path = own.path / "pipelines/abalone" / file
    text = path.read_text()
    assert old in text
    before = "    input_data_version = "
    try:
        path.write_text(text.replace(old, new).replace(before, PARAMETER + before))
        done = own.run("get-pipeline-definition", "-n", MODULE)
    finally:
        path.write_text(text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"get-pipeline-definition: {message}")
    assert done.stderr.count("\n") == 1


class Step:
    """A step as the SDK has it, as far as a definition needs it."""

    name = "Train"

    def __init__(self, request):
        self.request = request

    def to_request(self):
        if isinstance(self.request, Exception):
            raise self.request
        return self.request


class Branch(Step):
    name = "Check"

    def __init__(self, *steps):
        super().__init__({"Type": "Condition"})
        self.else_steps = steps


class Pipeline:
    def __init__(self, *steps):
        self.steps = steps

    def definition(self):
        raise TypeError("not JSON")


@pytest.mark.fast
@pytest.mark.parametrize(
    "steps, message",
    [
        ([Step({"Arguments": {"Paths": [Step]}})], "step Train: Arguments.Paths is a type;"),
        ([Branch(Step({"Tags": {"x": b""}}))], "step Train: Tags.x is a bytes;"),
        ([Step(ValueError("no\nimage"))], "step Train: ValueError: no image"),
        ([Step({"Arguments": {}})], "TypeError: not JSON"),
        ([], "TypeError: not JSON"),
    ],
)
def test_the_step_that_cannot_be_described_is_named(steps, message):
    with pytest.raises(RunFailed) as failed:
        definition_of(Pipeline(*steps))
    assert str(failed.value).startswith(message)
