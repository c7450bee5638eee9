"""From an approved package to an endpoint that serves it: `deploy-model` from end to end."""

AT_ONCE = {"DeploymentConfig": None, "RetainAllVariantProperties": None}


def test_a_first_promotion_serves_the_package(place):
    arn = place.register(factor=2)
    result = place.deploy("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == 0, result["Message"]
    assert result["Outcome"] == "Promoted"
    assert "no canary is possible" in result["stderr"]
    assert place.answer("4") == [8.0]


def test_p5_a_second_run_changes_nothing(place):
    arn = place.register()
    place.deploy("promote", "--model-package-arn", arn)
    before = place.resources(), place.entries()
    result = place.deploy("promote", "--model-package-arn", arn)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Unchanged"), result
    assert "already deployed" in result["Message"]
    assert (place.resources(), place.entries()) == before
