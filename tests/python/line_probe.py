"""Programs of the tests that answer a line of JSON with a line of JSON."""

import contextlib
import json
import subprocess


@contextlib.contextmanager
def asking(program):
    """question(**request) -> the answer; what the program refuses fails the test."""
    process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def question(**request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    yield question
    process.stdin.close()
    assert process.wait(60) == 0
