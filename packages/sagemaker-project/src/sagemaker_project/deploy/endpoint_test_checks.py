"""Judge the answers of an endpoint: what each must hold, and what they must hold together."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from sagemaker_project.deploy.answers import (
    CSV,
    Difference,
    OtherForm,
    Scalar,
    Value,
    cell_differences,
    differences,
    predictions_of,
)
from sagemaker_project.deploy.endpoint_test_invoke import MAX_SECONDS, NOT_NOW, Answer
from sagemaker_project.deploy.endpoint_test_latency import percentile
from sagemaker_project.deploy.endpoint_test_result import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Check,
    Deviation,
    check,
    one_line,
)
from sagemaker_project.deploy.endpoint_test_samples import MalformedRequest, Sample

WORST = 10  # deviations in the result

# What every answer must hold, in this order: an answer fails the first that it does not hold.
ANSWER_CHECKS = {
    "Content type": "the one that the request accepts",
    "Form": '{"predictions": [...]} as JSON, or one prediction a line as CSV, each of the'
    " recorded one's form",
    "Number of predictions": "one for each record",
    "Finite predictions": "every number finite",
    "Values": "numbers within TOLERANCE of the recorded predictions, all else equal",
}

# The number of a sample, from 0, and the answer to it; None if it was not sent for lack of time.
SampleAnswer: TypeAlias = tuple[int, Answer | None]
Sent: TypeAlias = list[tuple[int, Answer]]
Refused: TypeAlias = list[tuple[MalformedRequest, Answer | None]]


class WrongAnswer(Exception):
    """An answer that fails the answer check of this name."""

    def __init__(self, check_name: str, found: str) -> None:
        super().__init__(found)
        self.check_name = check_name


def was_sent(answers: Iterable[SampleAnswer]) -> Sent:
    return [(number, answer) for number, answer in answers if answer]


# One answer


def predictions(sample: Sample, answer: Answer) -> list[Value]:
    """Return the prediction for each record; raise WrongAnswer if they are not all there."""
    kind = _media_type(answer)
    if kind != sample.accept:
        raise WrongAnswer("Content type", f"{kind or 'none'} for {sample.accept}")
    try:
        values = predictions_of(answer.body.decode(), kind)
    except (ValueError, OverflowError, RecursionError):
        start = one_line(answer.body[:60].decode(errors="replace"))
        raise WrongAnswer("Form", start or "empty") from None
    return values


def _media_type(answer: Answer) -> str:
    return answer.content_type.split(";")[0].strip().lower()


def _differences(sample: Sample, found: Sequence[Value]) -> list[tuple[int, Difference]]:
    """Return what is not as recorded, each with the number of its record, from 0.

    Raises:
        WrongAnswer: a prediction is of another form than the recorded one, or they are too many or
            too few, or a number is not finite.
    """
    listed = []
    for record, (wanted, value) in enumerate(zip(sample.expected, found, strict=False)):
        try:
            listed += [(record, one) for one in _compared(sample.accept, wanted, value)]
        except OtherForm as error:
            raise WrongAnswer("Form", f"{place(record, error.where)}: {error}") from None
    if len(found) != len(sample.expected):
        counted = f"{len(found)} for {len(sample.expected)} records"
        raise WrongAnswer("Number of predictions", counted)
    for record, one in listed:
        if isinstance(one.found, float) and not math.isfinite(one.found):
            raise WrongAnswer("Finite predictions", f"{place(record, one.where)}: {one.found}")
    return listed


def _compared(media_type: str, wanted: Value, found: Value) -> Iterator[Difference]:
    if media_type == CSV:
        assert isinstance(found, list)  # the cells of a line
        return cell_differences(wanted, [str(cell) for cell in found])
    return differences(wanted, found)


def place(record: int, where: str) -> str:
    return f"record {record + 1}{where if where.startswith('[') else where.replace('.', ' ', 1)}"


def _deviation(difference: Difference) -> float:
    """Return the distance of two numbers; infinity for other values, which differ or do not."""
    distance = difference.distance
    return math.inf if distance is None else distance


def _short(value: Scalar) -> Scalar:
    return one_line(value) if isinstance(value, str) else value


class AnswerChecks:
    """Holds every answer to its sample and counts what fails."""

    def __init__(self, samples: Sequence[Sample], tolerance: float, answers: Sent) -> None:
        self.samples, self.tolerance = samples, tolerance
        self.reached: Counter[str] = Counter()  # {check: answers that got as far as this check}
        self.wrong: Counter[str] = Counter()  # {check: answers that failed it}
        self.examples: dict[str, str] = {}  # {check: the first that failed it}
        # The worst of each (sample, record, place in the prediction).
        self.differences: dict[tuple[int, int, str], Difference] = {}
        for number, answer in answers:
            if not answer.error:
                self._judge(number, answer)

    @property
    def right(self) -> int:
        """The number of answers that hold every check."""
        return self.reached["Values"] - self.wrong["Values"]

    def _judge(self, number: int, answer: Answer) -> None:
        sample, failed = self.samples[number], None
        try:
            self._compare(number, _differences(sample, predictions(sample, answer)))
        except WrongAnswer as wrong:
            failed = wrong.check_name
            self.wrong[failed] += 1
            self.examples.setdefault(failed, f"sample {number + 1}: {wrong}")
        for name in ANSWER_CHECKS:
            self.reached[name] += 1
            if name == failed:
                break

    def _compare(self, number: int, found: Sequence[tuple[int, Difference]]) -> None:
        for record, one in found:
            known = self.differences.get((number, record, one.where))
            if known is None or _deviation(one) > _deviation(known):
                self.differences[number, record, one.where] = one
        if not found:
            return
        record, worst = max(found, key=lambda pair: _deviation(pair[1]))
        if not _deviation(worst) <= self.tolerance:
            raise WrongAnswer("Values", f"{place(record, worst.where)}: {worst}")

    def worst(self) -> list[Deviation]:
        """Return the largest deviations, the worst first."""
        ordered = sorted(self.differences.items(), key=lambda item: -_deviation(item[1]))
        return [
            {
                "Sample": number + 1,
                "Record": record + 1,
                "Where": where,
                "Expected": _short(difference.wanted),
                "Found": _short(difference.found),
                "Deviation": difference.distance,
            }
            for (number, record, where), difference in ordered[:WORST]
        ]

    def checks(self) -> Iterator[Check]:
        tolerance = f"{self.tolerance:g}"
        for name, wanted in ANSWER_CHECKS.items():
            reached, wrong = self.reached[name], self.wrong[name]
            found = f"{reached - wrong} of {reached} answers"
            if wrong:
                found += f"; {self.examples[name]}"
            status = FAILED if wrong else PASSED if reached else INCONCLUSIVE
            yield check(name, status, wanted.replace("TOLERANCE", tolerance), found)


# All answers together


def sent_check(sent: Sent, wanted: int, any_answer: bool) -> Check:
    found = f"{len(sent)}"
    if not any_answer:
        found += "; no sample was answered, so the rest was not sent"
    elif len(sent) < wanted:
        found += f"; the time of a test, {MAX_SECONDS} s, was over"
    status = PASSED if sent and len(sent) == wanted else INCONCLUSIVE
    return check("Requests sent", status, f"{wanted}", found)


def answered_check(samples: int, sent: Sent) -> Check:
    answered = len({number for number, answer in sent if not answer.error})
    status = (PASSED if answered == samples else FAILED) if samples else INCONCLUSIVE
    return check("Samples answered", status, f"each of {samples}", f"{answered} of {samples}")


def variant_check(sent: Sent, target: str) -> Check:
    variants = {answer.variant or "none" for _, answer in sent if not answer.error}
    others = variants - {target}
    status = FAILED if others else PASSED if variants else INCONCLUSIVE
    return check("Variant", status, target, ", ".join(sorted(others)) or target)


def error_check(errors: int, sent: int, limit: float) -> Check:
    wanted = f"at most {limit:.4%}"
    if not sent:
        return check("Error rate", INCONCLUSIVE, wanted, "nothing was sent")
    status = PASSED if errors / sent <= limit else FAILED
    return check("Error rate", status, wanted, f"{errors / sent:.4%}: {errors} of {sent}")


def latency_check(latencies: Sequence[float], rank: int, limit: float) -> Check:
    name, wanted = f"Latency p{rank}", f"at most {limit:,g} ms"
    if not latencies:
        return check(name, INCONCLUSIVE, wanted, "nothing was timed")
    value = percentile(latencies, rank)
    return check(name, PASSED if value <= limit else FAILED, wanted, f"{value:,.1f} ms")


def malformed_checks(wanted: int, refused: Refused) -> Iterator[Check]:
    if not refused:
        yield check("Malformed requests", INCONCLUSIVE, f"{wanted} sent", "0 sent")
    for request, answer in refused:
        found = "not sent" if answer is None else f"{answer.status or answer.error}"
        if answer is None or (answer.error in NOT_NOW and answer.status is None):
            status = INCONCLUSIVE
        else:
            status = PASSED if 400 <= (answer.status or 0) < 500 else FAILED
        yield check(
            f"Refuses {request.name}", status, f"4xx (the model gave {request.status})", found
        )


def after_check(after: Sequence[SampleAnswer], judged: AnswerChecks) -> Check:
    """Check the samples that were sent again after the malformed requests."""
    sent, right = len(was_sent(after)), judged.right
    status = FAILED if right < sent else PASSED
    if not sent or (status == PASSED and sent < len(after)):
        status = INCONCLUSIVE
    return check("Answers after that", status, f"{len(after)} right", f"{right} of {sent}")
