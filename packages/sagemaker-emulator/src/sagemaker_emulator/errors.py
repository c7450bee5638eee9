"""Two kinds of mistakes.

AwsError   what a client of the API is told: AWS's error code, AWS's manner of message.
LocalError what a person at a terminal is told: one line that says what to do next.
"""


class AwsError(Exception):
    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class LocalError(Exception):
    pass


def invalid(message):
    return AwsError("ValidationException", message)
