"""Between host and device: on a CPU everything happens in turn."""

from __future__ import annotations

import pytest
import torch

from pipelines.transfer import Ahead, Beside, asked, mark, to_device, wait_for

CPU = torch.device("cpu")


def test_a_cpu_needs_no_queue() -> None:
    beside, x = Beside(CPU), torch.arange(6).view(2, 3)
    with beside.work(None, x):
        assert (beside.to_host(x) == x.numpy()).all()
    assert mark(CPU) is None and to_device(x, CPU) is x and asked(x)() is x
    wait_for(CPU)
    ahead = Ahead(CPU)
    for _ in range(5):
        ahead.wait(), ahead.queued()


@pytest.mark.gpu
def test_a_pass_may_be_queued_while_one_runs_but_no_more() -> None:
    device = torch.device("cuda")
    ahead, ended = Ahead(device), []
    for _ in range(6):
        ahead.wait()
        assert all(event.query() for event in ended[:-1])
        torch.cuda._sleep(20_000_000)
        ahead.queued()
        ended.append(mark(device))
    assert not ended[-1].query()


@pytest.mark.gpu
def test_what_is_queued_beside_does_not_wait_for_the_model() -> None:
    device = torch.device("cuda")
    beside, x = Beside(device), torch.arange(1000, device=device)
    beside.to_host(x + 1)  # what is loaded or allocated the first time waits for the device
    ready = mark(device)
    torch.cuda._sleep(2_000_000_000)
    still_busy = mark(device)
    with beside.work(ready, x):
        assert (beside.to_host(x + 1)[:3] == [1, 2, 3]).all()
    assert not still_busy.query()


@pytest.mark.gpu
def test_an_answer_does_not_wait_for_what_is_queued_after_the_question() -> None:
    device = torch.device("cuda")
    asked(torch.ones((), device=device))()  # what is allocated the first time waits for the device
    answer = asked(torch.arange(3, device=device).sum())
    torch.cuda._sleep(2_000_000_000)
    still_busy = mark(device)
    assert int(answer()) == 3
    assert not still_busy.query()
    wait_for(device)
    assert still_busy.query()
