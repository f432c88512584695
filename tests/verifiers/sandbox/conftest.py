"""The sandboxes that run here."""

from functools import cache

import pytest

from lit_unmask.verifiers.sandbox import Bubblewrap, Limits, Sandbox, SandboxError, Sandlock

KINDS = {"bubblewrap": Bubblewrap, "sandlock": Sandlock}


@cache
def reason_against(kind: type[Sandbox]) -> str | None:
    try:
        kind().probe()
    except SandboxError as error:
        return str(error)
    return None


@pytest.fixture(params=KINDS, scope="session")
def kind(request: pytest.FixtureRequest) -> type[Sandbox]:
    """Every class of sandboxes that contains here."""
    kind = KINDS[request.param]
    if (reason := reason_against(kind)) is not None:
        pytest.skip(f"no {request.param} here: {reason}")
    return kind


@pytest.fixture(params=["the strongest", pytest.param("the next", marks=pytest.mark.slow)])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """A sandbox for what is the same in all of them; those but the strongest are slow tests."""
    here = [kind for kind in KINDS.values() if reason_against(kind) is None]
    number = int(request.param != "the strongest")
    if number >= len(here):
        pytest.skip("no such sandbox here")
    return here[number](Limits(memory=256))


@pytest.fixture
def sandbox(kind) -> Sandbox:
    """A sandbox with little memory."""
    return kind(Limits(memory=256))
