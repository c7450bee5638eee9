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


def test_a_serverless_stage_is_promoted_and_tested(place):
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    variant = {"VariantName": "AllTraffic", "ServerlessConfig": serverless}
    place.settings("staging", ProductionVariants=[variant], DataCaptureConfig=None)
    place.staged(place.register(factor=2))
    assert place.answer("4") == [8.0]


def test_p20_a_serverless_endpoint_becomes_one_of_instances_and_not_back(place):
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    variant = {"VariantName": "AllTraffic"}
    instances = {**variant, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    place.settings(
        "staging",
        ProductionVariants=[{**variant, "ServerlessConfig": serverless}],
        DataCaptureConfig=None,
        **AT_ONCE,
    )
    arn = place.register(factor=2)
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 0
    place.settings("staging", ProductionVariants=[instances])
    result = place.deploy("promote", "--model-package-arn", arn)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result["Message"]
    assert place.answer("4") == [8.0]
    before = place.resources(), place.entries()
    back = place.deploy("rollback")
    assert back["ExitCode"] == 3 and "cannot become serverless" in back["Message"]
    place.settings("staging", ProductionVariants=[{**variant, "ServerlessConfig": serverless}])
    for command in ("plan", "promote"):
        result = place.deploy(command, "--model-package-arn", place.register(factor=3))
        assert result["ExitCode"] == 2, result
        assert "an endpoint of instances cannot become serverless" in result["Message"]
    assert (place.resources(), place.entries()) == before


def test_an_asynchronous_stage_is_promoted_and_tested(place):
    place.settings("staging", AsyncInferenceConfig={"OutputConfig": {}}, DataCaptureConfig=None)
    place.settings("staging", EndpointTest={"Requests": 5, "MaxP99Milliseconds": 10_000})
    place.staged(place.register(factor=2))


def test_a_b_variants_serve_two_versions(place):
    place.register(factor=2)
    variant = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    champion = {"VariantName": "champion", "ModelPackageVersion": 1, "InitialVariantWeight": 0.5}
    challenger = {"VariantName": "challenger", "InitialVariantWeight": 0.5}
    variants = [{**variant, **champion}, {**variant, **challenger}]
    place.settings("staging", ProductionVariants=variants)
    second = place.register(factor=3)
    result = place.deploy("promote", "--model-package-arn", second)
    assert result["ExitCode"] == 0, result["Message"]
    assert {place.answer("1")[0] for _ in range(10)} == {2.0, 3.0}


def test_autoscaling_is_registered_and_follows_the_settings(place):
    def registered():
        scaling = place.cloud.client("application-autoscaling")
        found = scaling.describe_scalable_targets(
            ServiceNamespace="sagemaker",
            ResourceIds=[f"endpoint/{place.name}-staging/variant/AllTraffic"],
        )["ScalableTargets"]
        return [(target["MinCapacity"], target["MaxCapacity"]) for target in found]

    def promote(**scaling):
        variant = {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large"}
        place.settings("staging", ProductionVariants=[variant | scaling])
        result = place.deploy("promote", "--model-package-arn", arn)
        assert result["ExitCode"] == 0, result["Message"]

    arn = place.register()
    rule = {"MinCapacity": 1, "MaxCapacity": 3, "TargetValue": 100}
    promote(InitialInstanceCount=1, AutoScaling=rule)
    assert registered() == [(1, 3)]
    promote(InitialInstanceCount=1, AutoScaling={**rule, "MaxCapacity": 5})
    assert registered() == [(1, 5)]
    promote(InitialInstanceCount=2)
    assert registered() == []
