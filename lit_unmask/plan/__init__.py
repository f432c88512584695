"""``lit-unmask plan``: what a run will be, before anything of it is loaded."""

from lit_unmask.plan.assumptions import Assumptions
from lit_unmask.plan.plan import Plan, make_plan
from lit_unmask.plan.printing import as_json, rendered
from lit_unmask.plan.workshop import Workshop

__all__ = ["Assumptions", "Plan", "Workshop", "as_json", "make_plan", "rendered"]
