"""Tiny models: a second thread costs more than it gives."""

import pytest


@pytest.fixture(autouse=True)
def one_thread(request):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    if "smollm2" not in request.node.name:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
