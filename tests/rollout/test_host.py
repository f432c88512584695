"""How often the host waits for the device, to learn what it has to decide on."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_rollouts import LENGTH, NUMBERS, POLICIES, SEED, ToyDenoiser, make_prompts

from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.rollout.host import HostRows

# Operations whose result, or whose shape, the host has to know.
WAITING = {
    f"aten.{name}"
    for name in (
        "_local_scalar_dense",
        "equal",
        "is_nonzero",
        "masked_select",
        "nonzero",
        "repeat_interleave",
        "unique_consecutive",
        "unique_dim",
        "_unique2",
    )
}
INDEXING = {"aten.index", "aten.index_put", "aten.index_put_"}


class Waits(TorchDispatchMode):
    """Counts the operations that would make the host wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function.overloadpacket)
        by_flags = name in INDEXING and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_flags or name in WAITING:
            self.names[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("operation", [lambda x: x[x > 1], lambda x: x.sum().item(), torch.unique])
def test_operations_that_wait_are_counted(operation):
    with Waits() as waits:
        operation(torch.arange(3))
        torch.arange(3)[torch.tensor([0, 1])]
    assert waits.names.total() == 1


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("name", ["learned", "threshold", "random"])
@pytest.mark.parametrize(
    "scheduling", [Scheduling(), Scheduling(max_rows=2), Scheduling(skip=False, lookahead=1)]
)
def test_the_host_waits_once_for_each_answer_of_the_policy(
    name, on_empty, record, scheduling, monkeypatch
):
    policy, fetch, asked, fetched = POLICIES[name](), HostRows.fetch, [], []
    policy.register_forward_hook(lambda *_: asked.append(1))
    monkeypatch.setattr(HostRows, "fetch", lambda *rest: fetched.append(1) or fetch(*rest))
    decoding = Decoding(LENGTH, 4, on_empty=on_empty, scheduling=scheduling)
    with Waits() as waits:
        result = rollout(
            ToyDenoiser(), policy, make_prompts(), decoding, Noise(SEED, NUMBERS), record=record
        )
    # The prompts are compared once, at the start.
    assert waits.names == {"aten.unique_dim": 1}
    assert len(fetched) == len(asked) > 0
    if on_empty == "force" and scheduling.max_rows is None:
        assert len(fetched) == result.nfe.max()
